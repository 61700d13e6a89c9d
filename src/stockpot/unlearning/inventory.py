"""The inventory: a purge's record of what it removed, what a lock keeps, and what has no lineage.

It is written before anything is removed, so that an interrupted purge loses no record, and each
later run adds to it. The lists stay here; the receipt names the inventory by its digest.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import rfc8785
from pydantic import Field, ValidationError

from stockpot.api.model import DigestString, Model
from stockpot.api.runspec import ObjectRef
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo, ObjectStore


class Outcome(StrEnum):
    """What became of an item."""

    LISTED = "Listed"
    """It exists, and is about to be removed."""
    REMOVED = "Removed"
    KEPT = "Kept"
    """A lock of the store keeps it until the lock ends."""


class Item(Model):
    """One object, version of one, delete marker or unfinished write."""

    key: str
    version: str = ""
    size_bytes: int
    result: Outcome = Outcome.LISTED


class Residual(Model):
    """An object that was left: it has no lineage (no readable manifest), or a lock keeps it."""

    key: str
    version: str = ""
    size_bytes: int
    kept_by: str = ""
    """The lock that keeps an object of the shard; empty for one of unknown lineage."""


class Sweep(Model):
    """One scan of the whole namespace."""

    at: str
    """RFC 3339."""
    count: int = Field(alias="found")
    """How many objects of the shard's lineage it found."""


class Inventory(Model):
    """Everything that the purges of one shard found, over all their runs."""

    version: int = 1
    soup: ObjectRef
    shard: ObjectRef
    items: tuple[Item, ...] = ()
    """Sorted by key and version."""
    residuals: tuple[Residual, ...] = ()
    """As of the last sweep."""
    sweeps: tuple[Sweep, ...] = ()
    commitments: tuple[DigestString, ...] = ()
    """Commitments to the records that left a shard which lives on. Their salts are removed."""
    complete: bool = False
    """Whether the last sweep found only what locks keep: all other items are removed."""

    def with_listed(self, infos: Iterable[ObjectInfo]) -> "Inventory":
        """Add objects that are about to be removed; one that is listed already is removed again."""
        items = {(item.key, item.version, item.size_bytes): item for item in self.items}
        for info in infos:
            item = Item(key=info.key, version=info.version, size_bytes=info.size_bytes)
            items[item.key, item.version, item.size_bytes] = item
        in_order = tuple(items[at] for at in sorted(items))
        return self.model_copy(update={"items": in_order, "complete": False})

    def with_results(self, kept: Mapping[ObjectInfo, str]) -> "Inventory":
        """Record that all items were removed, except those that locks keep.

        Args:
            kept: The objects that were kept, and the lock of each.
        """
        locked = {(info.key, info.version) for info in kept}
        items = tuple(
            item.model_copy(
                update={
                    "result": Outcome.KEPT
                    if (item.key, item.version) in locked
                    else Outcome.REMOVED
                }
            )
            for item in self.items
        )
        left = tuple(
            Residual(key=info.key, version=info.version, size_bytes=info.size_bytes, kept_by=why)
            for info, why in kept.items()
        )
        residuals = (*self.residuals, *left)
        return self.model_copy(update={"items": items, "residuals": residuals, "complete": True})

    @property
    def size_bytes(self) -> int:
        """The size of all items together."""
        return sum(item.size_bytes for item in self.items)

    @property
    def canonical(self) -> bytes:
        """The bytes that are stored and that the digest covers (RFC 8785)."""
        document = self.model_dump(mode="json", by_alias=True)
        # Earlier versions wrote neither field: their inventories keep the bytes that were signed.
        if not document["commitments"]:
            del document["commitments"]
        for residual in document["residuals"]:
            if not residual["keptBy"]:
                del residual["keptBy"]
        return rfc8785.dumps(document)

    @property
    def digest(self) -> Digest:
        """The digest of its stored bytes."""
        return digest_of_bytes(self.canonical)


def residuals_of(infos: Iterable[ObjectInfo]) -> tuple[Residual, ...]:
    """List objects that are under no manifest."""
    return tuple(
        Residual(key=info.key, version=info.version, size_bytes=info.size_bytes) for info in infos
    )


def read_inventory(store: ObjectStore, keys: Keys, shard_uid: str) -> Inventory | None:
    """Read the inventory of earlier runs; None where there is none.

    Raises:
        Refused: It is not an inventory that this version supports, or was edited (exit 43).
    """
    key = keys.inventory(shard_uid)
    data = store.get(key)
    if data is None:
        return None
    try:
        inventory = Inventory.model_validate_json(data)
    except ValidationError as error:
        raise _refused(key, f"it is not an inventory: {error.errors()[0]['msg']}") from error
    if inventory.version != 1 or inventory.shard.uid != shard_uid or inventory.canonical != data:
        raise _refused(key, f"it was edited, or is not of shard {shard_uid}")
    return inventory


def write_inventory(store: ObjectStore, keys: Keys, inventory: Inventory) -> None:
    """Store an inventory, replacing the one of earlier runs."""
    store.put(keys.inventory(inventory.shard.uid), inventory.canonical)


def _refused(key: str, why: str) -> Refused:
    return Refused(
        f"{key} is refused: {why}",
        help="restore it from a backup; it is the only record of what earlier purges removed",
        exit_code=ExitCode.WRONG_DIGEST,
    )
