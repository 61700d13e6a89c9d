"""Where the heads of chains are kept outside of the store: the port, and a file.

A chain shows whatever is edited in it, and not that its end was cut off, or that all of it was
replaced. That shows against a head that was kept where whoever runs the store cannot write. This
is such a place: heads are added to it, and never changed. Other adapters of the port may be an
RFC 3161 timestamp of each head, which needs a service and its certificate, or a transparency log,
which needs a log and its key, and proves that others see the same one.
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
    """The head of one chain, as it was seen by whoever anchored it."""

    version: int = 1
    namespace: str
    soup: str
    """The UID of the soup."""
    name: str = ""
    """What the soup called itself."""
    sequence: Annotated[int, Field(ge=1)]
    digest: DigestString
    at: str
    """RFC 3339, by the clock of whoever anchored it."""


@dataclass(frozen=True)
class AnchorContents:
    """What an anchor has of one chain."""

    heads: tuple[AnchoredHead, ...] = ()
    """In the order in which they were added."""
    unreadable: int = 0
    """Things in it that nobody can read: a line that was cut off, or edited."""


class Anchor(Protocol):
    """Keeps heads. Whoever can write the store must not be able to change what is here."""

    def append(self, head: AnchoredHead) -> None:
        """Add a head; it stays when this returns.

        Raises:
            Transient: It could not be kept.
        """
        ...

    def read(self, namespace: str, soup_uid: str) -> AnchorContents:
        """Return what is kept of one chain.

        Raises:
            Refused: There is no such anchor.
            Transient: It cannot be read.
        """
        ...

    def soups(self, namespace: str) -> dict[str, str]:
        """Return the names of the soups that something is kept of, by UID.

        Raises:
            Refused: There is no such anchor.
            Transient: It cannot be read.
        """
        ...


class FileAnchor:
    """A file with a head on each line, as JSON. Fit for `chattr +a`: it is only ever added to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, head: AnchoredHead) -> None:
        """Add a line, whole and on the disk."""
        line = rfc8785.dumps(head.model_dump(mode="json", by_alias=True)) + b"\n"
        with appended_file(self._path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            # One that was cut off in the middle of a line must not spoil this one.
            is_cut = size_bytes and os.pread(file.fileno(), 1, size_bytes - 1) != b"\n"
            file.write(b"\n" + line if is_cut else line)

    def read(self, namespace: str, soup_uid: str) -> AnchorContents:
        """Read the lines of one chain."""
        heads, unreadable = self._lines(namespace)
        return AnchorContents(tuple(head for head in heads if head.soup == soup_uid), unreadable)

    def soups(self, namespace: str) -> dict[str, str]:
        """Read whose lines there are."""
        return {head.soup: head.name for head in self._lines(namespace)[0]}

    def _lines(self, namespace: str) -> tuple[list[AnchoredHead], int]:
        if not self._path.is_file():
            raise Refused(
                f"there is no anchor at {self._path}",
                help=f"begin one: stockpot anchor SOUP … --to {quoted(self._path)}",
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
    """Say why a chain is not the one whose heads were kept; nothing where it may be.

    Args:
        kept: What the anchor has.
        entries: The chain: each entry's number and digest.
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
