"""Anchors: append-only records of chain heads outside of the store. The port, and a file.

Editing an entry breaks its chain; cutting off the end or replacing the whole chain does not. A head
that was recorded where the store's operators cannot write reveals that. Other adapters of the port
could be an RFC 3161 timestamp of each head, which needs a service and its certificate, or a
transparency log, which needs a log and its key, and proves that everybody sees the same chain.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import rfc8785
from pydantic import Field, ValidationError

from stockpot.api.model import DigestString, Model
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained, quoted
from stockpot.store.outputs import appended_file


class AnchoredHead(Model):
    """The head of one chain at the time when it was anchored."""

    version: int = 1
    namespace: str
    soup: str
    """The UID of the soup."""
    name: str = ""
    """The soup's name."""
    sequence: Annotated[int, Field(ge=1)]
    digest: DigestString
    at: str
    """When it was anchored (RFC 3339), by the clock of the machine that did."""


@dataclass(frozen=True)
class AnchorContents:
    """The heads of one chain in an anchor."""

    heads: tuple[AnchoredHead, ...] = ()
    """In the order in which they were added."""
    unreadable: int = 0
    """How many lines cannot be parsed, because they were cut off or edited."""


class Anchor(Protocol):
    """Stores heads. Users who can write the store must not be able to change an anchor."""

    def append(self, head: AnchoredHead) -> None:
        """Add a head durably.

        Raises:
            Transient: It could not be written.
        """
        ...

    def read(self, namespace: str, soup_uid: str) -> AnchorContents:
        """Return the heads of one chain.

        Raises:
            Refused: There is no such anchor.
            Transient: It cannot be read.
        """
        ...

    def soups(self, namespace: str) -> dict[str, str]:
        """Return the names of the soups that have heads here, by UID.

        Raises:
            Refused: There is no such anchor.
            Transient: It cannot be read.
        """
        ...


class FileAnchor:
    """A file with one head per line, as JSON. It is only appended to, so `chattr +a` works."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, head: AnchoredHead) -> None:
        """Append a whole line, and sync it to the disk."""
        line = rfc8785.dumps(head.model_dump(mode="json", by_alias=True)) + b"\n"
        with appended_file(self._path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            # A last line that was cut off must not corrupt this one.
            is_cut = size_bytes and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n"
            file.write(b"\n" + line if is_cut else line)

    def read(self, namespace: str, soup_uid: str) -> AnchorContents:
        """Read the lines of one chain."""
        heads, unreadable = self._lines(namespace)
        return AnchorContents(tuple(head for head in heads if head.soup == soup_uid), unreadable)

    def soups(self, namespace: str) -> dict[str, str]:
        """Read the names of the soups in the file, by UID."""
        return {head.soup: head.name for head in self._lines(namespace)[0]}

    def _lines(self, namespace: str) -> tuple[list[AnchoredHead], int]:
        if not self._path.is_file():
            raise Refused(
                f"there is no anchor at {self._path}",
                help=f"create one: stockpot anchor SOUP … --to {quoted(self._path)}",
                exit_code=ExitCode.USAGE,
            )
        with explained(self._path):
            lines = self._path.read_bytes().splitlines()
        heads, unreadable = [], 0
        for line in filter(None, lines):
            try:
                head = AnchoredHead.model_validate_json(line)
            except ValidationError:
                unreadable += 1
                continue
            if head.namespace == namespace:
                heads.append(head)
        return heads, unreadable


def contradiction(kept: AnchorContents, entries: Sequence[tuple[int, str]]) -> str:
    """Return why a chain contradicts its anchored heads, or an empty string.

    Args:
        kept: The anchor's heads of the chain.
        entries: The number and digest of each entry of the chain.
    """
    there = dict(entries)
    last = max(there, default=0)
    same = ""
    for head in sorted(kept.heads, key=lambda head: head.sequence):
        digest = there.get(head.sequence)
        if digest == head.digest:
            same = f"; up to number {head.sequence} it is as it was on {head.at}"
            continue
        recorded = f"number {head.sequence} was {head.digest} on {head.at}"
        if digest is not None:
            return f"it was forked or edited: {recorded}, and is {digest} now{same}"
        end = f"ends with number {last}" if last else "has no entry"
        return f"it was cut off or rolled back: {recorded}, and now the chain {end}{same}"
    return ""
