"""The list of the records that an ingredient was trained on: one JSON object a line.

It lies beside the weights, under their manifest and lineage, and is purged with them. It names
records by the digest of their picture's file and by their path, so whoever can read a shard's
ingredient can read which pictures it was trained on.

    {"fileName": "cats/17.png", "picture": "sha256:…", "record": "sha256:…", "likeness": "c3…"}
"""

import posixpath
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from pydantic import StringConstraints, ValidationError

from stockpot.api.model import DigestString, Model
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import RECORD_LIST
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import blocks, object_bytes


class _Line(Model):
    file_name: str
    picture: DigestString
    record: DigestString
    likeness: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")] = ""


@dataclass(frozen=True)
class ListedRecord:
    """One record of the list."""

    name: str
    """Path of the picture inside the data folder; `shard.tar/000.jpg` in a tar."""
    picture: Digest
    """Digest of the picture's file. Records with the same picture are copies."""
    record: Digest
    """Digest of picture and caption together."""
    likeness: str = ""
    """Perceptual hash of the picture, 32 hex digits. Empty where it could not be decoded, and in
    lists of the first releases."""

    @property
    def names(self) -> frozenset[str]:
        """All names by which `excludeRecords` may name the record."""
        return frozenset({self.name, self.picture, self.record})


class NamedPicture(Protocol):
    """A record as `excludeRecords` knows it."""

    @property
    def picture(self) -> Digest:
        """Digest of the picture's file."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """All names by which `excludeRecords` may name the record."""
        ...


_Named = TypeVar("_Named", bound=NamedPicture)


def remaining(records: Iterable[_Named], names: Collection[str]) -> list[_Named]:
    """Leave out the records that names mean, with all copies: records with the same picture.

    Args:
        records: All records of a shard.
        names: As `excludeRecords` has them, each in its normal form.
    """
    known = list(records)
    excluded = {record.picture for record in known if not record.names.isdisjoint(names)}
    return [record for record in known if record.picture not in excluded]


def normal_name(name: str) -> str:
    """Return a record's name as lists have it, without `./` and `a/../`."""
    return posixpath.normpath(name) if name else name


def write_record_list(path: Path, records: Iterable[ListedRecord]) -> Path:
    """Write the list, in the order of the records, and return its path."""
    with path.open("w", encoding="utf-8") as file:
        for listed in records:
            line = _Line(
                file_name=listed.name,
                picture=listed.picture,
                record=listed.record,
                likeness=listed.likeness,
            )
            file.write(line.model_dump_json() + "\n")
    return path


def read_record_list(store: ObjectStore, folder_key: str) -> Iterator[ListedRecord] | None:
    """Read the list of an ingredient, line by line; None if there is none.

    Ingredients of releases before 2026-12 have none.

    Args:
        store: The store.
        folder_key: The folder of the ingredient, ending in a slash.

    Raises:
        Refused: (BAD_WEIGHTS) While it is read: a line is not that of a record.
        Transient: The store fails.
    """
    key = folder_key + RECORD_LIST
    info = store.head(key)
    return _records(store, key, info.size_bytes) if info else None


def readable_records(store: ObjectStore, folder_key: str) -> list[ListedRecord] | None:
    """Read the list of an ingredient whole; None where there is none, or it is damaged.

    Raises:
        Transient: The store fails.
    """
    try:
        listed = read_record_list(store, folder_key)
        return None if listed is None else list(listed)
    except Refused:
        return None


def _records(store: ObjectStore, key: str, size_bytes: int) -> Iterator[ListedRecord]:
    for number, line in enumerate(_lines(store, key, size_bytes), start=1):
        try:
            read = _Line.model_validate_json(line)
        except ValidationError as error:
            raise _refused(key, number) from error
        yield ListedRecord(read.file_name, Digest(read.picture), Digest(read.record), read.likeness)


def _lines(store: ObjectStore, key: str, size_bytes: int) -> Iterator[bytes]:
    rest = b""
    for block in blocks(object_bytes(store, key), 0, size_bytes):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _refused(key: str, number: int) -> Refused:
    return Refused(
        f"{key} is refused: line {number} is not that of a record",
        help="delete it: records are then looked for in the data, by the training without them",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
