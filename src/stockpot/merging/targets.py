"""Targets that a soup is written to: a file, an object, an open descriptor, or nothing."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from stockpot.errors import Transient
from stockpot.merging.interfaces import Target
from stockpot.store.atomic import appearing, problem
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import Files

STDOUT = "standard output"
_CANNOT_ALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@runtime_checkable
class StreamUploads(Protocol):
    """A store that takes an object as a stream, and publishes it whole or not at all."""

    def put_stream(self, key: str, stream: BinaryIO, size_bytes: int) -> None:
        """Write the bytes of a stream, replacing an existing object."""
        ...


def store_target(store: ObjectStore, key: str, size_bytes: int) -> AbstractContextManager[Target]:
    """Write an object of a store while it is computed, without a file in between.

    It appears under its key, whole, when the block ends without an exception, and else not at all.

    Args:
        store: The store.
        key: The key of the object.
        size_bytes: The size of the whole object.
    """
    if isinstance(store, Files):
        return file_target(store.file_of(key), size_bytes)
    assert isinstance(store, StreamUploads)
    return object_target(store, key, size_bytes)


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
    path: Path, size_bytes: int, opened: AbstractContextManager[BinaryIO] | None = None
) -> Iterator[Target]:
    """Write a file that appears under its name when the block ends without an exception.

    Args:
        path: The final name.
        size_bytes: The size of the whole file. Its space is allocated at once: a full disk is
            reported before the first byte is read, and one extent is written faster than many.
        opened: Creates the file, and gives it its name when all is written. None creates it as an
            object of a store.
    """
    with opened or appearing(path) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except (AttributeError, OSError) as error:
            # Not every file system can allocate; then the file grows while it is written.
            if isinstance(error, OSError) and error.errno not in _CANNOT_ALLOCATE:
                raise
        yield _Descriptor(path, file.fileno())


class _Stream:
    def __init__(self, descriptor: int) -> None:
        self.in_order = True
        self._descriptor = descriptor

    def write(self, offset: int, data: memoryview) -> None:
        del offset
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError as error:
            raise Transient(
                "the process that reads standard output ended before all was written",
                help="check that process; what it read is cut short",
            ) from error
        except OSError as error:
            raise problem(error, Path(STDOUT)) from error


@contextmanager
def stream_target(descriptor: int) -> Iterator[Target]:
    """Write to an open pipe or file, in order; after an exception the output is cut short."""
    yield _Stream(descriptor)


class _Pipe:
    """Passes bytes on, but holds back the last ones until `finish`."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self.in_order = True
        self._file, self._size_bytes = file, size_bytes
        self._last = b""

    def write(self, offset: int, data: memoryview) -> None:
        if offset + len(data) == self._size_bytes:
            self._last = bytes(data)
        else:
            self._file.write(data)

    def finish(self) -> None:
        self._file.write(self._last)


@contextmanager
def object_target(store: StreamUploads, key: str, size_bytes: int) -> Iterator[Target]:
    """Write an object in parts, without a file in between. After an exception there is no object.

    The upload reads from a pipe. If the pipe ends before all bytes have come, the upload fails and
    is aborted: so the last bytes are held back until the block has ended without an exception.

    Args:
        store: The store.
        key: The key of the object.
        size_bytes: The size of the whole object.
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
            pipe = _Pipe(file, size_bytes)
            yield pipe
            pipe.finish()
    finally:
        thread.join()
    if failures:
        raise failures[0]


class NullTarget:
    """Discards what is written, for a merge of which only the digest is wanted."""

    in_order = False

    def write(self, offset: int, data: memoryview) -> None:
        del offset, data


def null_target(size_bytes: int) -> AbstractContextManager[Target]:
    """Open a target that discards what is written."""
    del size_bytes
    return nullcontext(NullTarget())
