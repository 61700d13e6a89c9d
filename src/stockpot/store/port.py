"""What we ask of an object store. One contract suite runs on every adapter.

Keys are POSIX paths without a leading slash. An object appears under its key whole or not at
all. Listing and reading see every finished write (as S3 has it since 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stockpot.errors import Refused
from stockpot.store.atomic import UNFINISHED

LONGEST_KEY_BYTES = 1024
"""What S3 allows."""
LONGEST_PART_BYTES = 200
"""File systems allow 255; a temporary file's name is longer by a few."""
UPLOAD = "upload:"
"""Begins the version of an unfinished upload."""
CONNECTIONS = 8
"""How many requests one process makes at a time, at most."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object, or one version of it, as a listing shows it."""

    key: str
    size_bytes: int
    version: str = ""
    is_delete_marker: bool = False
    modified_at: str = field(default="", compare=False)
    """When it was written, by the store's clock: RFC 3339 to the second. Only `head` says it."""

    @property
    def is_unfinished(self) -> bool:
        """Whether it is a write that has not ended: under way, or left by one that was killed."""
        return self.version.startswith(UPLOAD) or self.version.endswith(UNFINISHED)


@dataclass(frozen=True)
class Custody:
    """What a store does with objects beside keeping them, as far as we may see."""

    locks: bool | None = False
    """Whether it can keep objects from being removed; None: we may not see."""
    replicas: tuple[str, ...] | None = ()
    """Where it copies them to by itself; None: we may not see."""


class ObjectStore(Protocol):
    """Bytes under keys. Safe to use from several threads.

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

        Correctness must not rest on this alone: some servers let two writers both win, and where
        the answer to our own first try was lost, the second try says no. Read what is there.
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

    def get_version(self, info: ObjectInfo) -> bytes | None:
        """Read a small thing that `list_versions` named; None where it has no bytes to read."""
        ...

    def purge(self, info: ObjectInfo) -> None:
        """Remove one thing that `list_versions` named, for good."""
        ...

    def why_kept(self, info: ObjectInfo) -> str:
        """Say what keeps a thing that could not be removed: a lock, and until when.

        Empty where nothing does, or where we may not see it.
        """
        ...

    def custody(self) -> Custody:
        """Say what the store does with objects beside keeping them."""
        ...


def require_key(key: str) -> str:
    """Return the key, where every adapter can hold it and it stays below the store's root.

    Raises:
        Refused: It is empty, absolute, too long, has an empty, `.` or `..` part, a control
            character, or the name of a temporary file.
    """
    why = _fault_of(key.split("/"))
    if why or len(key.encode(errors="replace")) > LONGEST_KEY_BYTES:
        why = why or f"it is longer than {LONGEST_KEY_BYTES} bytes"
        raise _refused_key(key, why)
    return key


def require_prefix(prefix: str) -> str:
    """Return the prefix, where keys can begin with it. It may end anywhere, or be empty."""
    whole, _, last = prefix.rpartition("/")
    why = _fault_of(whole.split("/")) if "/" in prefix else None
    if why or (why := _fault_of_text(last)):
        raise _refused_key(prefix, why)
    return prefix


def _fault_of(parts: list[str]) -> str | None:
    for part in parts:
        if part == "":
            return "it has an empty part"
        if part in (".", ".."):
            return f"{part} stands in it"
        if part.endswith(UNFINISHED):
            return f"names that end in {UNFINISHED} are for unfinished writes"
        if len(part.encode(errors="replace")) > LONGEST_PART_BYTES:
            return f"a part of it is longer than {LONGEST_PART_BYTES} bytes"
        if why := _fault_of_text(part):
            return why
    return None


def _fault_of_text(text: str) -> str | None:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        return "it has a control character"
    if "\\" in text:
        return "it has a backslash"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is no UTF-8"
    return None


def _refused_key(key: str, why: str) -> Refused:
    return Refused(
        f"{key[:200]!r} cannot be a key of the store: {why}",
        help="name it with parts of letters, digits, dots and dashes, joined by single slashes",
    )
