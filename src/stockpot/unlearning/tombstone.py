"""The mark that a shard was forgotten: what it says, written and read.

Whoever only asks whether one stands asks `store.tombstones`.
"""

import rfc8785
from pydantic import ValidationError

from stockpot.api.model import Model
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore


class Tombstone(Model):
    """The mark that a shard was forgotten."""

    version: int = 1
    shard: str
    """Its UID."""
    soup: str
    """The UID of its soup."""
    at: str
    """RFC 3339."""


def stand_tombstone(store: ObjectStore, keys: Keys, mark: Tombstone) -> None:
    """Write the mark, where none stands yet."""
    store.put_if_absent(
        keys.tombstone(mark.shard), rfc8785.dumps(mark.model_dump(mode="json", by_alias=True))
    )


def read_tombstone(store: ObjectStore, keys: Keys, shard_uid: str) -> Tombstone | None:
    """Read what the mark says; None where none stands, or one that says nothing to us."""
    data = store.get(keys.tombstone(shard_uid))
    try:
        return Tombstone.model_validate_json(data) if data is not None else None
    except ValidationError:
        return None


def tombstoned_at(store: ObjectStore, keys: Keys, shard_uid: str) -> str | None:
    """When the mark was written, as it says itself."""
    mark = read_tombstone(store, keys, shard_uid)
    return mark.at if mark else None
