"""A range of an object in S3, read in order over one connection, into buffers of the reader.

Each byte is copied once, by the kernel, to where it is wanted. The client's own reading would make
a new piece of memory for each answer and copy it from there: half of what reading costs.
"""

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Protocol

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError


class BeyondTheEndError(Exception):
    """A range that begins behind the last byte."""


class Asks(Protocol):
    """Asks again while what goes wrong may pass, and raises errors of ours."""

    def __call__(self, what: str, request: Callable[[], int]) -> int:
        """Return what the request does."""
        ...


Open = Callable[[str, int, int], BaseHTTPResponse]
"""Ask for a range: key, offset, length."""


class S3Stream:
    """A range of an object, under way. Where it is cut off, it is taken up again."""

    def __init__(self, ask: Asks, opened: Open, key: str, offset: int, length: int) -> None:
        self._ask, self._opened, self._key = ask, opened, key
        self._at, self._end = offset, offset + length
        self._response: BaseHTTPResponse | None = None

    def begin(self) -> None:
        """Ask for the range; whoever reads does so too, but then nobody else can meanwhile.

        Raises:
            KeyError: There is no such object.
            Transient: The store fails, also when asked again.
        """
        if self._at < self._end:
            self._ask(self._key, lambda: self._some(memoryview(b"")))

    def read_into(self, buffer: memoryview) -> int:
        """Fill a buffer with what comes next; say how many bytes there were.

        Returns:
            Less than the buffer holds where the server sent less at once; 0 where the range or the
            object ends.

        Raises:
            KeyError: There is no such object.
            Transient: The store fails, also when asked again.
        """
        if self._at >= self._end:
            return 0
        wanted = buffer[: self._end - self._at]
        count = self._ask(self._key, lambda: self._some(wanted))
        self._at += count
        if self._at >= self._end:
            self.close()
        return count

    def close(self) -> None:
        """Give the connection back; one with bytes left on it is of no more use."""
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
    """Receive what comes next of an answer into a buffer that is not empty; 0 where it ends.

    Raises:
        HTTPError: It was cut off.
    """
    # urllib3 reads into a buffer by copying; Python's answer beneath it lets the kernel do it.
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
