"""The operator's port: `/livez` and `/readyz` for the kubelet, `/metrics` for Prometheus."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from stockpot.metrics.operator import OperatorMeters

_PATIENCE_S = 10
"""How long a connection may say nothing before it is closed."""


@contextmanager
def serve_operator(
    meters: OperatorMeters,
    *,
    is_live: Callable[[], bool],
    is_ready: Callable[[], bool],
    host: str = "",
    port: int = 8080,
) -> Iterator[str]:
    """Answer on a thread of its own while the context lasts, so that work never looks like death.

    Args:
        meters: What `/metrics` shows.
        is_live: False: the kubelet kills the container. Asked from another thread.
        is_ready: False: it is not counted as available. Asked from another thread.
        host: The address to listen on; empty: all of the pod's.
        port: 0: any free one.

    Yields:
        The URL that it is asked under from the same machine, without a path.

    Raises:
        OSError: The port is taken.
    """
    probes = {"/livez": is_live, "/readyz": is_ready}

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, meters.text(), CONTENT_TYPE_PLAIN_0_0_4)
            elif path in probes:
                good = probes[path]()
                self._answer(200 if good else 503, b"ok\n" if good else b"no\n", "text/plain")
            else:
                self._answer(404, b"/livez, /readyz and /metrics are here\n", "text/plain")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: probes come every few seconds."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield f"http://{host or '127.0.0.1'}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
