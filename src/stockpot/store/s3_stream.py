"""Reads a range of an S3 object in order over one connection, into the caller's buffers.

The operating system copies each byte once, straight into the buffer. The client's own reading would
allocate memory for each response and copy it again, which is half of the cost of reading.
"""

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Protocol

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError


class BeyondTheEndError(Exception):
    """The range begins beyond the last byte."""


class RequestWithRetries(Protocol):
    """Sends a request with retries of transient errors, and raises StockpotErrors."""

    def __call__(self, what: str, request: Callable[[], int]) -> int:
        """Return the result of the request."""
        ...


Open = Callable[[str, int, int], BaseHTTPResponse]
"""Requests a range. Args: key, offset, length."""


class S3Stream:
    """A range of an object. If its connection breaks, it is requested again from where it broke."""

    def __init__(
        self, request: RequestWithRetries, opened: Open, key: str, offset: int, length: int
    ) -> None:
        self._request, self._opened, self._key = request, opened, key
        self._at, self._end = offset, offset + length
        self._response: BaseHTTPResponse | None = None

    def begin(self) -> None:
        """Send the request in advance, so that several streams can wait for responses in parallel.

        Raises:
            KeyError: There is no such object.
            Transient: The store fails, also on retries.
        """
        if self._at < self._end:
            self._request(self._key, lambda: self._some(memoryview(b"")))

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer with the next bytes.

        Returns:
            The number of bytes: fewer than the buffer holds if fewer have arrived; 0 at the end of
            the range or the object.

        Raises:
            KeyError: There is no such object.
            Transient: The store fails, also on retries.
        """
        if self._at >= self._end:
            return 0
        wanted = buffer[: self._end - self._at]
        count = self._request(self._key, lambda: self._some(wanted))
        self._at += count
        if self._at >= self._end:
            self.close()
        return count

    def close(self) -> None:
        """Release the connection; it is closed if it has unread bytes, for it cannot be reused."""
        if self._response is not None:
            if self._at < self._end:
                self._response.close()
            self._response.release_conn()
            self._response = None

    def _some(self, buffer: memoryview) -> int:
        try:
            if self._response is None:
                self._response = self._opened(self._key, self._at, self._end - self._at)
            return received(self._response, buffer) if buffer else 0
        except BeyondTheEndError:
            return 0
        except Exception:
            self.close()
            raise


def received(response: BaseHTTPResponse, buffer: memoryview) -> int:
    """Receive the next bytes of a response into a non-empty buffer; return 0 at its end.

    Raises:
        HTTPError: The connection broke.
    """
    # urllib3 copies into the buffer; Python's response beneath it reads into it directly.
    beneath = getattr(response, "_fp", None)
    if not isinstance(beneath, HTTPResponse):
        data = response.read(len(buffer), decode_content=False)
        buffer[: len(data)] = data
        return len(data)
    try:
        count = beneath.readinto(buffer)
    except (HTTPException, OSError) as error:
        raise ProtocolError(f"Connection broken: {error!r}", error) from error
    if not count and beneath.length:
        raise ProtocolError(f"Connection broken: {beneath.length} more bytes were announced")
    return count
