"""The HTTP server of probes and scrapes, and clients that disconnect early."""

import socket
import struct
import threading
import urllib.request
from urllib.parse import urlsplit

import pytest

from stockpot.metrics.http_server import Response, serve_routes


def test_a_client_that_disconnects_early_is_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    request_received, gone = threading.Event(), threading.Event()
    working: list[threading.Thread] = []

    def slow() -> Response:
        working.append(threading.current_thread())
        request_received.set()
        gone.wait(10)
        return Response(200, "text/plain", b"x" * 10_000_000)

    routes = {"/slow": slow, "/quick": lambda: Response(200, "text/plain", b"well")}
    with serve_routes(routes, host="127.0.0.1", port=0, port_help="") as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname, where.port)) as connection:
            # Closing then resets the connection instead of ending it regularly.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            assert request_received.wait(10)
        gone.set()
        working[0].join(10)
        with urllib.request.urlopen(f"{url}/quick") as answer:
            assert answer.read() == b"well"

    assert "Traceback" not in capfd.readouterr().err
