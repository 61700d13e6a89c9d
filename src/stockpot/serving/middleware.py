"""The public port's middleware: limits bodies, counts requests, and closes connections at the end.

Written against ASGI itself: with Starlette's base class a route cannot see that its client left.
"""

import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stockpot.serving import http_errors
from stockpot.serving.metrics import UPLOADING, ServerMetrics

MAX_BODY_BYTES = 64 << 10
MAX_DISCARDED_BYTES = 64 << 20
"""How much of a body that is too long is read and discarded: a client that still sends when its
connection is closed loses the answer."""
CLIENT_LEFT = 499
"""The status code by which proxies log that a client closed its connection before the answer."""


class BodyLimitMiddleware:
    """Refuses bodies that are longer than any valid request, before they are read to the end."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, path: str) -> None:
        self._app = app
        self._metrics = metrics
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, size_bytes = b"", 0
        more = scope["method"] in {"POST", "PUT", "PATCH"} and not _will_be_refused(scope)
        while more and size_bytes <= MAX_DISCARDED_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                if scope["path"] == self._path:
                    self._metrics.disconnects.labels(stage=UPLOADING).inc()
                return
            part: bytes = message.get("body", b"")
            size_bytes += len(part)
            body = body + part if size_bytes <= MAX_BODY_BYTES else b""
            more = message.get("more_body", False)
        if size_bytes > MAX_BODY_BYTES or _will_be_refused(scope):
            text = f"The body is longer than {MAX_BODY_BYTES} bytes."
            await http_errors.error_response(413, text, code="body_too_long")(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def read() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, read, send)


class RequestMetricsMiddleware:
    """Counts generation requests by status code, and measures how long they take."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, path: str) -> None:
        self._app = app
        self._metrics = metrics
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        began_s, code = time.monotonic(), CLIENT_LEFT

        async def counted_send(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted_send)
        except BaseException:
            code = 500
            raise
        finally:
            self._metrics.requests.labels(code=str(code)).inc()
            self._metrics.request_s.observe(time.monotonic() - began_s)


class ConnectionCloseMiddleware:
    """Adds `Connection: close` to each response while the server shuts down.

    So the client sends its next request on a new connection, to a server that stays. Closing an
    idle connection instead could lose a request that is on its way.
    """

    def __init__(self, app: ASGIApp, is_ending: Callable[[], bool]) -> None:
        self._app = app
        self._is_ending = is_ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing_send(message: Message) -> None:
            if message["type"] == "http.response.start" and self._is_ending():
                headers = [*message.get("headers", []), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, closing_send if scope["type"] == "http" else send)


def _will_be_refused(scope: Scope) -> bool:
    """Whether a client announces a body that is too long with `Expect: 100-continue`.

    It is refused before it sends the body.
    """
    headers = Headers(scope=scope)
    size = headers.get("content-length", "")
    is_asked = headers.get("expect", "").lower() == "100-continue"
    return is_asked and size.isdecimal() and int(size) > MAX_BODY_BYTES
