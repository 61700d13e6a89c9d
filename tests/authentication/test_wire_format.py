"""What an operator of this release sends to a server of the last one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stockpot.api.serving import Grant
from stockpot.authentication.signatures import HEADER, GrantKind, GrantSigner, Recipient
from stockpot.kube.pod_client import PodClient

RECORDED = Path(__file__).parents[1] / "serving" / "recorded"
KEY = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))


class RecordingServer(HTTPServer):
    """A server that takes what it is sent, and keeps it."""

    path = ""
    headers: dict[str, str]
    body = b""
    status = 202

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: RecordingServer

    def do_POST(self) -> None:
        self.server.path = self.path
        self.server.headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        body = json.dumps({"message": "It is not signed.", "help": "sign it"}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def send(server: RecordingServer, signer: GrantSigner) -> str:
    grant = Grant.model_validate_json((RECORDED / "grant.json").read_text())
    headers = signer.headers(grant, GrantKind.COMMIT, Recipient("soup", "pod"))
    client = PodClient()
    try:
        return client.send_grant(server.url, GrantKind.COMMIT, grant, headers)
    finally:
        client.close()


@pytest.mark.parametrize("signer", [GrantSigner(), GrantSigner((KEY,))])
def test_a_signed_grant_is_the_last_releases_request_with_one_header_more(
    server: RecordingServer, signer: GrantSigner
) -> None:
    assert send(server, signer) == ""

    assert server.path == "/weights:commit"
    assert server.body == (RECORDED / "grant.json").read_bytes()
    more = {HEADER.lower()} if signer.keys else set()
    usual = {"host", "accept-encoding", "content-length", "user-agent", "content-type"}
    assert set(server.headers) - usual == more


def test_why_a_server_takes_a_grant_for_anothers_comes_back(server: RecordingServer) -> None:
    server.status = 403

    assert send(server, GrantSigner((KEY,))) == "It is not signed. sign it"
