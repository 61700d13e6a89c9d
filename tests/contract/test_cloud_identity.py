"""Credentials that a cloud hands to a pod are used on a real S3 server, and renewed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from minio.time import to_iso8601utc, utcnow
from tests.contract.conftest import ACCESS_KEY, SECRET_KEY

from stockpot.errors import Refused, Transient
from stockpot.store.s3 import S3Store


class Cloud(BaseHTTPRequestHandler):
    """The endpoint at which a pod fetches its credentials, as EKS Pod Identity has it."""

    answers: ClassVar[list[tuple[int, object]]] = []
    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Cloud]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Cloud.answers.clear()
    Cloud.tokens.clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    url = f"http://127.0.0.1:{server.server_port}/v1/credentials"
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-pod")
    yield Cloud
    server.shutdown()
    server.server_close()
    thread.join()


def keys(*, expired: bool = False) -> tuple[int, object]:
    now = utcnow()
    ends = now if expired else now.replace(year=now.year + 1)
    return 200, {
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": SECRET_KEY,
        "Token": None,
        "Expiration": to_iso8601utc(ends),
    }


@pytest.mark.tools
def test_a_pods_cloud_identity_is_used_and_renewed_when_it_expires(
    s3_endpoint: str, bucket_s3: str, cloud: type[Cloud]
) -> None:
    cloud.answers += [keys(expired=True), keys()]
    store = S3Store(s3_endpoint, bucket_s3, "cloud")

    store.put("ns/a", b"x")
    answers = [store.get("ns/a"), store.get("ns/a")]

    assert answers == [b"x", b"x"]
    assert cloud.tokens == ["of-the-pod", "of-the-pod"], "fetched, and renewed once"


@pytest.mark.tools
@pytest.mark.parametrize(
    "answer", [(403, {"message": "no role"}), (200, {"Code": "Failed"}), (200, {})]
)
def test_a_cloud_that_gives_no_credentials_is_named(
    s3_endpoint: str, bucket_s3: str, cloud: type[Cloud], answer: tuple[int, object]
) -> None:
    cloud.answers.append(answer)
    store = S3Store(s3_endpoint, bucket_s3, "cloud")

    with pytest.raises(Transient, match="the cloud gave the pod no credentials for") as problem:
        store.get("ns/a")

    assert "ServiceAccount" in problem.value.help


def test_without_any_identity_both_ways_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)

    with pytest.raises(Refused, match="there are no credentials") as refused:
        S3Store("http://127.0.0.1:1", "bucket")

    assert "AWS_ACCESS_KEY_ID" in refused.value.help
    assert "ServiceAccount" in refused.value.help
