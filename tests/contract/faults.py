"""A failing network: a proxy before a real S3 server, which injects faults into chosen requests.

with a_proxy(endpoint, lambda request: CUT if request.startswith("PUT") else "") as proxy:
    store = S3Store(proxy.endpoint, bucket)
"""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CUT = "cut"
"""The connection ends before the request reaches the server."""
LOST = "lost"
"""The server handles the request, and its response is lost."""
HALF = "half"
"""Only half of the first bytes of the response arrive."""
BUSY = "busy"
"""The server responds that it is too busy."""

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please slow down.</Message></Error>"
_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BUSY), _BUSY)
)
_METHODS = (b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE ")
_BYTES = 1 << 16


@dataclass
class Proxy:
    """A proxy between client and server."""

    endpoint: str
    requests: list[str] = field(default_factory=list)
    """Method and target of each request, in order of arrival."""


@contextmanager
def a_proxy(endpoint: str, fault_of: Callable[[str], str]) -> Iterator[Proxy]:
    """Forward every request unless `fault_of`, called once for each, returns a fault."""
    upstream = urlsplit(endpoint)
    assert upstream.hostname
    assert upstream.port
    server = (upstream.hostname, upstream.port)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(f"http://127.0.0.1:{listening.getsockname()[1]}")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    arguments = (client, server, proxy, fault_of)
                    threading.Thread(target=_serve, args=arguments, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(
    client: socket.socket,
    server: tuple[str, int],
    proxy: Proxy,
    fault_of: Callable[[str], str],
) -> None:
    with closing(client), suppress(OSError), closing(socket.create_connection(server)) as upstream:
        fault = ""
        while True:
            ready, _, _ = select.select([client, upstream], [], [])
            if client in ready:
                data = client.recv(_BYTES)
                if not data:
                    return
                if data.startswith(_METHODS):
                    request = data.partition(b" HTTP/")[0].decode()
                    proxy.requests.append(request)
                    fault = fault_of(request)
                if fault == BUSY:
                    client.sendall(_ANSWER)
                if fault in (BUSY, CUT):
                    return
                upstream.sendall(data)
            if upstream in ready:
                data = upstream.recv(_BYTES)
                if not data or fault == LOST:
                    return
                if fault == HALF:
                    client.sendall(data[: len(data) // 2])
                    return
                client.sendall(data)
