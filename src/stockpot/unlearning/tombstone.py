"""Writes and reads tombstones, which mark shards as forgotten.

`store.tombstones` checks whether a shard has one.
"""

import rfc8785
from pydantic import ValidationError

from stockpot.api.model import Model
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore


class Tombstone(Model):
    """Marks a shard as forgotten."""

    version: int = 1
    shard: str
    """Its UID."""
    soup: str
    """The UID of its soup."""
    at: str
    """RFC 3339."""


def write_tombstone(store: ObjectStore, keys: Keys, mark: Tombstone) -> None:
    """Write a tombstone unless the shard has one."""
    store.put_if_absent(
        keys.tombstone(mark.shard), rfc8785.dumps(mark.model_dump(mode="json", by_alias=True))
    )


def read_tombstone(store: ObjectStore, keys: Keys, shard_uid: str) -> Tombstone | None:
    """Read a shard's tombstone; None where there is none, or it is not valid."""
    data = store.get(keys.tombstone(shard_uid))
    try:
        return Tombstone.model_validate_json(data) if data is not None else None
    except ValidationError:
        return None


def tombstoned_at(store: ObjectStore, keys: Keys, shard_uid: str) -> str | None:
    """Return the time in a shard's tombstone; None where there is no valid one."""
    mark = read_tombstone(store, keys, shard_uid)
    return mark.at if mark else None
