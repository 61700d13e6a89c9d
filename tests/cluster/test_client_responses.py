"""The client against a fake server: responses that a healthy API server never sends."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes.client import Configuration

from stockpot.cluster.apiserver import client as client_module
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import (
    ResourceExpired,
    TooMany,
    Unavailable,
)
from stockpot.cluster.apiserver.resources import (
    SOUPS,
)

Answers = list[tuple[int, dict[str, str], str]]


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[Client, list[str]]]:
    """Something that gives these answers, the last one for ever; and what it was asked."""
    paths: list[str] = []
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with turn:
                paths.append(self.path)
                status, headers, body = answers[min(len(paths), len(answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client(Configuration(host=f"http://127.0.0.1:{server.server_address[1]}"))
    try:
        yield client, paths
    finally:
        client.close()
        server.shutdown()
        server.server_close()


def status(code: int, reason: str, message: str = "no") -> str:
    refreshed = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return json.dumps(refreshed)


def page(names: list[str], more: str = "") -> str:
    items = [{"metadata": {"name": name}} for name in names]
    return json.dumps({"metadata": {"resourceVersion": "5", "continue": more}, "items": items})


BUSY = (429, {"Retry-After": "0"}, status(429, "TooManyRequests", "try again"))


def test_a_busy_server_is_asked_again() -> None:
    with answering([BUSY, BUSY, (200, {}, page(["a"]))]) as (client, paths):
        assert len(client.list(SOUPS).items) == 1

    assert len(paths) == 3


def test_a_server_that_stays_busy_is_left_alone_after_a_while() -> None:
    with answering([BUSY]) as (client, paths), pytest.raises(TooMany, match="try again"):
        client.list(SOUPS)

    assert len(paths) == client_module.ATTEMPTS


def test_nobody_waits_longer_than_a_call_may_take() -> None:
    later = (429, {"Retry-After": "60"}, status(429, "TooManyRequests"))
    with answering([later]) as (client, paths):
        began_s = time.monotonic()
        with pytest.raises(TooMany):
            client.list(SOUPS)

    assert time.monotonic() - began_s < 5
    assert len(paths) == 1


def test_a_listing_that_expired_between_two_pages_starts_anew() -> None:
    expired = (410, {}, status(410, "Expired"))
    answers: Answers = [
        (200, {}, page(["old-a"], more="next")),
        expired,
        (200, {}, page(["a"], more="next")),
        (200, {}, page(["b"])),
    ]
    with answering(answers) as (client, paths):
        soups = client.list(SOUPS, resource_version="4")

    assert [item["metadata"]["name"] for item in soups.items] == ["a", "b"]
    assert "resourceVersion=4" in paths[0]
    assert "resourceVersion" not in paths[1]


def test_a_listing_that_always_expires_is_given_up() -> None:
    with (
        answering([(410, {}, status(410, "Expired"))]) as (client, paths),
        pytest.raises(ResourceExpired),
    ):
        client.list(SOUPS)

    assert len(paths) == client_module.LIST_ATTEMPTS


@pytest.mark.parametrize(
    "answer",
    [
        (502, {}, "<html>Bad gateway</html>"),
        (503, {}, status(503, "ServiceUnavailable")),
        (200, {}, "<html>Log in</html>"),
        (302, {"Location": "http://127.0.0.1:9/"}, ""),
    ],
)
def test_what_says_nothing_of_the_question_is_no_answer(
    answer: tuple[int, dict[str, str], str],
) -> None:
    with answering([answer]) as (client, _), pytest.raises(Unavailable):
        client.list(SOUPS)


def test_nobody_listens() -> None:
    client = Client(Configuration(host="http://127.0.0.1:9"))

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 did not answer"):
        client.list(SOUPS)


def test_a_token_is_read_anew_for_each_call() -> None:
    tokens = iter(["Bearer one", "Bearer two"])
    configuration = Configuration(host="http://127.0.0.1:9")
    sent_tokens: list[str] = []

    def refresh(refreshed: Configuration) -> None:
        refreshed.api_key["BearerToken"] = next(tokens)
        sent_tokens.append(refreshed.api_key["BearerToken"])

    configuration.refresh_api_key_hook = refresh
    client = Client(configuration)
    ask: Callable[[], object] = lambda: client.list(SOUPS)  # noqa: E731

    for _ in range(2):
        with pytest.raises(Unavailable):
            ask()

    assert sent_tokens == ["Bearer one", "Bearer two"]
