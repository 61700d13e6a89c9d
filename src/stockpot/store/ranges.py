"""Sources of bytes that are read by ranges: a local file, or an object in a store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained, problem
from stockpot.store.port import ObjectStore

BLOCK_BYTES = 1 << 20
FIRST_BYTES = 1 << 17
"""How much of an object is fetched when its beginning is read: most headers are shorter."""


IN_STORE = "restore it, or delete it to have it made again"
ABSENT_FROM_STORE = "restore it, or have it made again"
"""Help for an artefact of a store, which can be made again from data. For a user's own files
`merging.checkpoints.help_for_own_files` replaces it."""


class ByteSource(Protocol):
    """Bytes that can be read by ranges."""

    @property
    def name(self) -> str:
        """What messages call it: a path or a key."""
        ...

    @property
    def size_bytes(self) -> int:
        """The number of bytes."""
        ...

    @property
    def is_near(self) -> bool:
        """Whether small reads are as cheap per byte as large ones, as from a local file."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`; fewer only at the end."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill a buffer from `offset`; return how many bytes were read, fewer only at the end.

        Safe to call from many threads at once.
        """
        ...


class FileBytes:
    """An open file. One thread at a time may call `read`."""

    is_near = True

    def __init__(self, name: str, size_bytes: int, file: BinaryIO) -> None:
        self.name, self.size_bytes, self._file = name, size_bytes, file

    @cached_property
    def descriptor(self) -> int:
        """The descriptor of the open file, for compiled code."""
        return self._file.fileno()

    def read(self, offset: int, length: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(length)
        except OSError as error:
            raise problem(error, Path(self.name)) from error

    def read_into(self, offset: int, buffer: memoryview) -> int:
        try:
            return _read_into(self.descriptor, offset, buffer)
        except OSError as error:
            raise problem(error, Path(self.name)) from error


class StoredFile:
    """An object of a folder store. It is opened for each read, so that it needs no closing."""

    is_near = True

    def __init__(self, name: str, size_bytes: int, path: Path) -> None:
        self.name, self.size_bytes, self._path = name, size_bytes, path

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(max(0, min(length, self.size_bytes - offset)))
        return bytes(data[: self.read_into(offset, memoryview(data))])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                return _read_into(descriptor, offset, buffer)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise _absent(self.name) from error
        except OSError as error:
            raise problem(error, self._path) from error


def _read_into(descriptor: int, offset: int, buffer: memoryview) -> int:
    done = os.preadv(descriptor, (buffer,), offset)
    # A read may stop early, at two gigabytes or at a signal.
    while 0 < done < len(buffer):
        read = os.preadv(descriptor, (buffer[done:],), offset + done)
        if not read:
            break
        done += read
    return done


@runtime_checkable
class Files(Protocol):
    """A store whose objects are files."""

    def file_of(self, key: str) -> Path:
        """Return the file of an object, whether or not it exists."""
        ...


class ObjectBytes:
    """An object of a store."""

    is_near = False

    def __init__(self, name: str, size_bytes: int, store: ObjectStore) -> None:
        self.name, self.size_bytes, self.store = name, size_bytes, store
        self._first = b""

    def read(self, offset: int, length: int) -> bytes:
        end = offset + length
        if offset == 0 and length < FIRST_BYTES and not self._first:
            # A request costs as much as a megabyte, and a reader of the first bytes reads on.
            self._first = self._range(0, min(FIRST_BYTES, self.size_bytes))
        if end <= len(self._first):
            return self._first[offset:end]
        return self._range(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        data = self.read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, offset: int, length: int) -> bytes:
        try:
            return self.store.get_range(self.name, offset, length)
        except KeyError as error:
            raise _absent(self.name) from error


@contextmanager
def opened(path: Path) -> Iterator[FileBytes]:
    """Open a local file as a source of ranges.

    Raises:
        Refused: There is none (exit 46).
        Transient: It cannot be read.
    """
    with explained(path):
        if not path.exists():
            raise _absent(str(path))
        if not path.is_file():
            raise Refused(
                f"{path} is no regular file, and is read by ranges",
                help="name a file; save what comes through a pipe to one first",
                exit_code=ExitCode.BAD_WEIGHTS,
            )
        with path.open("rb") as file:
            yield FileBytes(str(path), path.stat().st_size, file)


def object_bytes(store: ObjectStore, key: str) -> ObjectBytes | StoredFile:
    """Open an object of a store as a source of ranges.

    Raises:
        Refused: There is none (exit 46).
    """
    info = store.head(key)
    if info is None:
        raise _absent(key)
    if isinstance(store, Files):
        return StoredFile(key, info.size_bytes, store.file_of(key))
    return ObjectBytes(key, info.size_bytes, store)


class InOrder:
    """A range that is read in order from its beginning to its end, in pieces of any size."""

    def __init__(self, source: ByteSource, offset: int, length: int) -> None:
        self._source, self._at = source, offset
        self._stream: _Stream | None = None
        # One request for the whole range, if the store supports it: each small one costs as much.
        if isinstance(source, ObjectBytes) and isinstance(source.store, _Streams):
            self._stream = source.store.stream(source.name, offset, length)

    def begin(self) -> None:
        """Send the request in advance; `fill` sends it otherwise."""
        if self._stream is not None:
            with self._present():
                self._stream.begin()

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer with the next bytes.

        Raises:
            Refused: The source ends before the buffer is full (exit 46).
        """
        done = 0
        if self._stream is None:
            done = self._source.read_into(self._at, buffer)
        else:
            with self._present():
                while done < len(buffer) and (read := self._stream.read_into(buffer[done:])):
                    done += read
        self._at += done
        if done < len(buffer):
            raise cut_short(self._source, self._at)

    def close(self) -> None:
        """Close its connection."""
        if self._stream is not None:
            self._stream.close()

    @contextmanager
    def _present(self) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise _absent(self._source.name) from error


class _Stream(Protocol):
    def begin(self) -> None: ...

    def read_into(self, buffer: memoryview) -> int: ...

    def close(self) -> None: ...


@runtime_checkable
class _Streams(Protocol):
    def stream(self, key: str, offset: int, length: int) -> _Stream: ...


def blocks(
    source: ByteSource, offset: int, length: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Read a range block by block, to its end.

    Raises:
        Refused: The source ends before the range does (exit 46).
    """
    end = offset + length
    while offset < end:
        block = source.read(offset, min(block_bytes, end - offset))
        if not block:
            raise cut_short(source, offset)
        offset += len(block)
        yield block


def fill(source: ByteSource, offset: int, buffer: memoryview) -> None:
    """Fill a buffer from a range.

    Raises:
        Refused: The source ends before the buffer is full (exit 46).
    """
    done = source.read_into(offset, buffer)
    if done < len(buffer):
        raise cut_short(source, offset + done)


def cut_short(source: ByteSource, offset: int) -> Refused:
    """Return the refusal of a source that ends earlier than its header says."""
    return Refused(
        f"{source.name} is cut short: it ends at byte {offset}, inside of what was read",
        help=IN_STORE,
        exit_code=ExitCode.BAD_WEIGHTS,
    )


def _absent(name: str) -> Refused:
    return Refused(
        f"{name} does not exist",
        help=ABSENT_FROM_STORE,
        exit_code=ExitCode.BAD_WEIGHTS,
    )
