"""What we ask of an object store. One contract suite runs on every adapter.

Keys are POSIX paths without a leading slash. An object appears under its key whole or not at
all. Listing and reading see every finished write (as S3 has it since 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """One object, or one version of it, as a listing shows it."""

    key: str
    size_bytes: int
    version: str = ""
    is_delete_marker: bool = False


class ObjectStore(Protocol):
    """Bytes under keys.

    Raises:
        Transient: (any method) The store is unreachable, full or refuses us; the message says
            which store and which key. Trying again later may work.
    """

    def head(self, key: str) -> ObjectInfo | None:
        """Say how large the object is, or None where there is none."""
        ...

    def get(self, key: str) -> bytes | None:
        """Read a small object whole, or None where there is none."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`; fewer only where the object ends.

        Raises:
            KeyError: There is no such object.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, replacing what was there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write it only where nothing is; say whether we did.

        Correctness must not rest on this alone: some servers let two writers both win.
        """
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Write the bytes of a local file, replacing what was there."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Read an object into a local file, which appears whole or not at all.

        Raises:
            KeyError: There is no such object.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List the objects whose key begins with the prefix, in order of key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        ...

    def list_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        """List everything under the prefix that holds bytes or a trace of a name.

        All versions, delete markers, and unfinished writes of any age.
        """
        ...

    def purge(self, info: ObjectInfo) -> None:
        """Remove one thing that `list_versions` named, for good."""
        ...
