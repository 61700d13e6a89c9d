"""The records of each shard's data, by its name: copies, and pictures of others."""

from collections.abc import Collection

from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.store.record_list import ListedRecord, remaining

RECORDS = ("first", "second")
"""Names of records in each shard's data that a history may exclude."""

SHARED = {"bees": "ants"}
"""Data with a picture of other data as well: its third is the first of the other."""


def picture(data: str, name: str) -> Digest:
    """Return the digest of a picture."""
    return digest_of_bytes(f"{data}/{name}".encode())


def records_of(data: str) -> list[ListedRecord]:
    """Return all records of a data folder: three pictures, and a copy of the first."""
    first = picture(data, "first")
    pictures = {
        "first": first,
        "second": picture(data, "second"),
        "third": picture(SHARED.get(data, data), "first" if data in SHARED else "third"),
        "copy of the first": first,
    }
    return [
        ListedRecord(name, digest, digest_of_bytes(name.encode()))
        for name, digest in pictures.items()
    ]


def records_without(data: str, names: Collection[str]) -> dict[str, Digest]:
    """Return the pictures that a training without some records is made with, by name."""
    return {record.name: record.picture for record in remaining(records_of(data), names)}
