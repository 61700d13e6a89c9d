"""Probes and scrapes are answered, and one who goes away makes no noise."""

import socket
import struct
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest

from stockpot.metrics.listening import Answer, answering


def test_one_who_goes_before_the_answer_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    asked, gone = threading.Event(), threading.Event()
    working: list[threading.Thread] = []

    def slow() -> Answer:
        working.append(threading.current_thread())
        asked.set()
        gone.wait(10)
        return Answer(200, "text/plain", b"x" * 10_000_000)

    routes = {"/slow": slow, "/quick": lambda: Answer(200, "text/plain", b"well")}
    with answering(routes, host="127.0.0.1", port=0, instead="") as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname, where.port)) as one:
            # Gone for good when it is closed: the peer is reset rather than told goodbye.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            assert asked.wait(10)
        gone.set()
        working[0].join(10)
        with urllib.request.urlopen(f"{url}/quick") as answer:
            assert answer.read() == b"well"

    assert "Traceback" not in capfd.readouterr().err
