"""Where a soup is written: a file that appears whole, or an object of a bucket. Or nowhere."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from stockpot.merging.engine import Target
from stockpot.store.atomic import appearing, problem

_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@runtime_checkable
class Uploads(Protocol):
    """A store that takes an object as a stream, and shows it whole or not at all."""

    def put_stream(self, key: str, stream: BinaryIO, size_bytes: int) -> None:
        """Write the bytes of a stream, replacing what was there."""
        ...


class _Descriptor:
    def __init__(self, path: Path, descriptor: int) -> None:
        self.in_order = False
        self._path, self._descriptor = path, descriptor

    def write(self, offset: int, data: memoryview) -> None:
        try:
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise problem(error, self._path) from error


@contextmanager
def file_target(
    path: Path, size_bytes: int, named: Callable[[Path], Path] = lambda path: path
) -> Iterator[Target]:
    """Write a file that appears under its name, on the disk, when the block ends well.

    Args:
        path: The final name.
        size_bytes: Of the whole file. The room is taken at once: a full disk says so before the
            first byte is read, and one extent is written faster than many.
        named: Chooses the final name, in the same folder, when all is written.
    """
    with appearing(path, lambda made, final: made.replace(named(final))) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except (AttributeError, OSError) as error:
            # Not every file system can: then the file grows as it is written.
            if isinstance(error, OSError) and error.errno not in _CANNOT_ALLOCATE:
                raise
        yield _Descriptor(path, file.fileno())


class _Pipe:
    def __init__(self, file: BinaryIO) -> None:
        self.in_order = True
        self._file = file

    def write(self, offset: int, data: memoryview) -> None:
        del offset  # They come in order.
        self._file.write(data)


@contextmanager
def object_target(store: Uploads, key: str, size_bytes: int) -> Iterator[Target]:
    """Write an object, in parts, without a file in between. After an exception there is none.

    The upload reads from a pipe. Where that ends before all bytes have come, because averaging
    failed, the upload fails too and is taken back.

    Args:
        store: Where to.
        key: Of the object.
        size_bytes: Of the whole object.
    """
    failures: list[BaseException] = []
    ours, theirs = os.pipe()

    def upload() -> None:
        try:
            with open(ours, "rb") as stream:
                store.put_stream(key, stream, size_bytes)
        except BaseException as error:  # Raised again by the thread that waits.
            failures.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        with suppress(BrokenPipeError), open(theirs, "wb") as file:
            yield _Pipe(file)
    finally:
        thread.join()
    if failures:
        raise failures[0]


class Nowhere:
    """Keep nothing: only the digest is of interest."""

    in_order = False

    def write(self, offset: int, data: memoryview) -> None:
        del offset, data
