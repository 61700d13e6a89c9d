"""A proxy before an S3 server that denies listing versions, as a read-only policy may.

Everything else passes unchanged, with the caller's own signature.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import urllib3

REFUSED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


@contextmanager
def refusing_versions(endpoint: str) -> Iterator[str]:
    """Run a proxy before the server at `endpoint`, and yield its URL."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if "versions" in query or "uploads" in query:
                self._answer(403, {"Content-Type": "application/xml"}, REFUSED)
                return
            answer = urllib3.request(
                self.command,
                endpoint + self.path,
                headers=dict(self.headers.items()),
                preload_content=True,
                decode_content=False,
            )
            self._answer(answer.status, dict(answer.headers), answer.data)

        do_HEAD = do_GET  # noqa: N815 - as http.server calls it

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
