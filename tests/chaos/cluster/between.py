"""A proxy between the operators and the API server, which answers for it when it is told to.

Runs in the cluster's network with the API server's own certificate, so that nothing of the product
knows of it. A file says what is wrong, and how often that is still to happen; while it is not
there every request goes through as it is. Leases always do: who leads is what other faults try.

    nsenter --net=… python -m tests.chaos.cluster.between KEYS TROUBLE
"""

import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADDRESS, UPSTREAM, PORT = "10.99.0.1", 6443, 6444
POLL_S = 0.05
BLOCK = 64 << 10
WRITES = ("POST", "PUT", "PATCH", "DELETE")
ANSWERS = {
    "409": (409, "Conflict", "the object has been modified"),
    "410": (410, "Expired", "too old resource version"),
    "429": (429, "TooManyRequests", "too many requests, please try again later"),
    "500": (500, "InternalError", "an error on the server"),
    "lost": (504, "Timeout", "request did not complete within the allotted timeout"),
}
"""What is said, by what it is called. Of what is lost only the answer is: it was done."""
IS_LIST, HEAD_BYTES = b'List",', 200
"""How the answer to a listing begins: `{"kind":"DataShardList",` or with the version first."""
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


class Trouble:
    """The file that says what is wrong: `{"what": "409", "times": 5}`, and how often still.

    `late` and `old` hold back for as long as the file is there, and count what they held back.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def what(self) -> str:
        """Say what is wrong now; empty: nothing."""
        with suppress(OSError, ValueError):
            return str(json.loads(self._path.read_text())["what"])
        return ""

    def holds(self, what: str) -> None:
        """Hold something back while this is wrong, and count it."""
        if self.what() != what:
            return
        with self._lock, suppress(OSError, ValueError):
            self._count(json.loads(self._path.read_text()))
        while self.what() == what:
            time.sleep(POLL_S)

    def _count(self, document: dict[str, Any]) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({**document, "times": int(document.get("times", 0)) - 1}))
        if self._path.exists():
            os.replace(part, self._path)

    def befalls(self, method: str, is_watch: bool) -> str:
        """Say what befalls a request, and count it."""
        with self._lock, suppress(OSError, ValueError):
            document = json.loads(self._path.read_text())
            what, times = document["what"], int(document.get("times", 0))
            if times <= 0 or not _concerns(what, method, is_watch):
                return ""
            self._count(document)
            return str(what)
        return ""


def _concerns(what: str, method: str, is_watch: bool) -> bool:
    match what:
        case "409":
            return method in {"PUT", "PATCH"}
        case "lost":
            return method in WRITES
        case "410":
            return is_watch
        case "late" | "old":
            return False
    return not is_watch


class Handler(BaseHTTPRequestHandler):
    """One connection of an operator."""

    protocol_version = "HTTP/1.1"
    trouble: Trouble
    trust: ssl.SSLContext

    def handle_any(self) -> None:
        """Pass a request on, or answer it."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        query = parse_qs(urlsplit(self.path).query)
        is_watch = query.get("watch", ["false"])[0] in {"1", "true"}
        befalls = "" if "/leases" in self.path else self.trouble.befalls(self.command, is_watch)
        if befalls and befalls != "lost":
            self._say(befalls)
            return
        upstream = http.client.HTTPSConnection(ADDRESS, UPSTREAM, context=self.trust, timeout=None)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            if befalls:
                answer.read()
                self._say(befalls)
            elif is_watch:
                self._stream(answer)
            else:
                self._whole(answer)
        except (OSError, http.client.HTTPException):
            # As it is where the API server ends: the connection is gone.
            self.close_connection = True
        finally:
            upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of each request."""

    def _say(self, what: str) -> None:
        code, reason, message = ANSWERS[what]
        status = {
            "apiVersion": "v1",
            "kind": "Status",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }
        body = json.dumps(status).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _head(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP | {"content-length", "date", "server"}:
                self.send_header(name, value)

    def _whole(self, answer: http.client.HTTPResponse) -> None:
        body = answer.read()
        if IS_LIST in body[:HEAD_BYTES]:
            self.trouble.holds("old")
        self._head(answer)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, answer: http.client.HTTPResponse) -> None:
        """Pass events on as they come; hold them back while they are to be late."""
        self._head(answer)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while block := answer.read1(BLOCK):
            self.trouble.holds("late")
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            self.wfile.flush()
            if self.trouble.what() == "410":
                # All that watch are cut off, and told to list again when they come back.
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    """Each connection has a thread, which shakes hands by itself."""

    daemon_threads = True
    own: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        raw, peer = super().get_request()
        wrapped = self.own.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        return wrapped, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up at any time."""


def main(keys: Path, trouble: Path) -> None:
    """Serve for ever."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(keys / "server.crt", keys / "server.key")
    handler = type(
        "Bound",
        (Handler,),
        {
            "trouble": Trouble(trouble),
            "trust": ssl.create_default_context(cafile=str(keys / "ca.crt")),
        },
    )
    server = Server((ADDRESS, PORT), handler)
    server.own = own
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
