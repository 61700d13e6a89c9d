"""A small HTTP server on a thread of its own, for probes, scrapes and progress."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from stockpot.errors import ExitCode, Refused

REQUEST_TIMEOUT_S = 10.0
"""How long a client may take to send its request; each client has a thread."""


class Response(NamedTuple):
    """The response to a GET request."""

    status: int
    content_type: str
    body: bytes


@contextmanager
def serve_routes(
    routes: Mapping[str, Callable[[], Response]], *, host: str, port: int, port_help: str
) -> Iterator[str]:
    """Serve GET requests while the context lasts.

    Args:
        routes: The handlers by path. Called from many threads.
        host: The address to listen on; `0.0.0.0` or `::` for all of this machine's.
        port: The port; 0 chooses a free one.
        port_help: What to do if the port is taken, for the error.

    Yields:
        The URL of the server from this machine, without a path.

    Raises:
        Refused: The port is taken, or the host is not an address of this machine (exit 6).
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            route = routes.get(self.path.partition("?")[0])
            if route is None:
                self.send_error(404)
                return
            answer = route()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Log nothing: probes and scrapes are frequent."""

    what = " and ".join(routes)
    server = _bind(host, port, Handler, f"for {what}", port_help)
    thread = threading.Thread(target=server.serve_forever, name=f"http-{port}", daemon=True)
    thread.start()
    try:
        yield _url(host, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect before the response, such as a probe that timed out."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _bind(
    host: str, port: int, handler: type[BaseHTTPRequestHandler], what: str, port_help: str
) -> _Server:
    try:
        return (_Server6 if ":" in host else _Server)((host, port), handler)
    except OSError as error:
        raise Refused(
            f"Port {port} of {host} cannot be used {what}: {error.strerror}.",
            help=port_help,
            exit_code=ExitCode.PORT_TAKEN,
        ) from error


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
