"""A small HTTP server on a thread of its own, for what is asked often and answered at once."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from stockpot.errors import ExitCode, Refused

PATIENCE_S = 10.0
"""How long one caller may take to ask; each of them has a thread."""


class Answer(NamedTuple):
    """What is said to a GET."""

    status: int
    content_type: str
    body: bytes


@contextmanager
def answering(
    routes: Mapping[str, Callable[[], Answer]], *, host: str, port: int, instead: str
) -> Iterator[str]:
    """Answer GETs while the context lasts.

    Args:
        routes: What makes the answer, by path. Called from many threads.
        host: The address to listen on; `0.0.0.0` or `::`: all of this machine's.
        port: 0: any free one.
        instead: What to do where the port is taken, for the message.

    Yields:
        The URL that it is asked under from this machine, without a path.

    Raises:
        Refused: The port is taken, or the host is not ours (exit 6).
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S

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
            """Say nothing: who asks, asks often."""

    what = " and ".join(routes)
    server = _listening(host, port, Handler, f"for {what}", instead)
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
        """Say nothing of one who went before he had his answer: a probe, past its timeout."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listening(
    host: str, port: int, handler: type[BaseHTTPRequestHandler], what: str, instead: str
) -> _Server:
    try:
        return (_Server6 if ":" in host else _Server)((host, port), handler)
    except OSError as error:
        raise Refused(
            f"Port {port} of {host} cannot be used {what}: {error.strerror}.",
            help=instead,
            exit_code=ExitCode.PORT_TAKEN,
        ) from error


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
