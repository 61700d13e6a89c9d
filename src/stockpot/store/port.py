"""The interface of an object store. One contract suite runs on every adapter.

Keys are POSIX paths without a leading slash. An object appears under its key whole or not at
all. Listing and reading see every finished write (as S3 has it since 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stockpot.errors import Refused, Transient
from stockpot.store.atomic import UNFINISHED

LONGEST_KEY_BYTES = 1024
"""The limit of S3."""
LONGEST_PART_BYTES = 200
"""File systems allow 255; the name of a temporary file is somewhat longer than the final one."""
UPLOAD = "upload:"
"""The prefix of an unfinished upload's version."""
CONNECTIONS = 8
"""The most requests that one process makes at a time."""


@dataclass(frozen=True)
class ObjectInfo:
    """One object, or one version of it, as a listing shows it."""

    key: str
    size_bytes: int
    version: str = ""
    is_delete_marker: bool = False
    modified_at: str = field(default="", compare=False)
    """When it was written, by the store's clock: RFC 3339 to the second. Only `head` sets it."""

    @property
    def is_unfinished(self) -> bool:
        """Whether the object is an unfinished write: in progress, or left by a killed process."""
        return self.version.startswith(UPLOAD) or self.version.endswith(UNFINISHED)


@dataclass(frozen=True)
class Custody:
    """A store's object locks and replication, as far as the credentials permit to see them."""

    locks: bool | None = False
    """Whether it can keep objects from being removed; None if access is denied."""
    replicas: tuple[str, ...] | None = ()
    """The buckets that it replicates objects to; None if access is denied."""


class AccessDenied(Transient):
    """The store refuses the credentials. An admin may change that, so a later retry may succeed."""


class ObjectStore(Protocol):
    """Bytes under keys. Safe to use from several threads.

    Raises:
        Transient: (any method) The store is unreachable, full or denies access; the message names
            the store and the key. A later retry may succeed.
    """

    def head(self, key: str) -> ObjectInfo | None:
        """Return the object's size and time of writing; None if there is no object."""
        ...

    def get(self, key: str) -> bytes | None:
        """Read a small object whole; None if there is none."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset`; fewer only where the object ends.

        Raises:
            KeyError: There is no such object.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, replacing an existing one."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none; return whether it was written.

        Correctness must not rest on the result alone: some servers let two writers both win, and if
        the response to the first try was lost, the retry returns False. Read the object instead.
        """
        ...

    def put_file(self, key: str, path: Path) -> None:
        """Write the bytes of a local file, replacing an existing object."""
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
        """Remove an object if there is one."""
        ...

    def list_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        """List all versions, delete markers and unfinished writes of any age under the prefix."""
        ...

    def get_version(self, info: ObjectInfo) -> bytes | None:
        """Read a small version that `list_versions` yielded; None if it has no bytes to read."""
        ...

    def purge(self, info: ObjectInfo) -> None:
        """Remove a version that `list_versions` yielded, permanently."""
        ...

    def why_kept(self, info: ObjectInfo) -> str:
        """Return which lock keeps a version that could not be removed, and until when.

        Empty if there is no lock, or access is denied.
        """
        ...

    def custody(self) -> Custody:
        """Return the store's object locks and replication."""
        ...


def require_key(key: str) -> str:
    """Return the key if every adapter can hold it and it stays below the store's root.

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
    """Return the prefix if keys can begin with it. It may end anywhere, or be empty."""
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
