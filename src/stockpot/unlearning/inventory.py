"""The record of a purge: what was found, what was removed, what nobody can account for.

It is written before anything is removed, so that a purge that was cut off does not forget what
it did, and each later run adds to it. Lists stay here; the receipt names it by its digest.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import rfc8785
from pydantic import ValidationError

from stockpot.api.model import DigestString, Model
from stockpot.api.runspec import ObjectRef
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo, ObjectStore


class Outcome(StrEnum):
    """What became of a thing."""

    LISTED = "Listed"
    """It was there, and is about to be removed."""
    REMOVED = "Removed"
    KEPT = "Kept"
    """A lock of the store keeps it: it stays until that ends."""


class Item(Model):
    """One object, version of one, delete marker or unfinished write."""

    key: str
    version: str = ""
    size_bytes: int
    result: Outcome = Outcome.LISTED


class Residual(Model):
    """What was left: of unknown lineage, under no manifest that can be read; or kept by a lock."""

    key: str
    version: str = ""
    size_bytes: int
    kept_by: str = ""
    """The lock that keeps what is the shard's; empty for what is nobody's."""


class Sweep(Model):
    """One look at everything in the namespace."""

    at: str
    """RFC 3339."""
    found: int
    """How many things of the shard's lineage."""


class Inventory(Model):
    """Everything that purges of one shard found, over all of their runs."""

    version: int = 1
    soup: ObjectRef
    shard: ObjectRef
    items: tuple[Item, ...] = ()
    """Sorted by key and version."""
    residuals: tuple[Residual, ...] = ()
    """As of the last sweep."""
    sweeps: tuple[Sweep, ...] = ()
    commitments: tuple[DigestString, ...] = ()
    """To records that left the shard, where it goes on without them. Their salts are removed."""
    complete: bool = False
    """The last sweep found nothing but what locks keep: all other items are removed."""

    def listing(self, infos: Iterable[ObjectInfo]) -> "Inventory":
        """Add what is about to be removed; what stands here already is removed once more."""
        items = {(item.key, item.version, item.size_bytes): item for item in self.items}
        for info in infos:
            item = Item(key=info.key, version=info.version, size_bytes=info.size_bytes)
            items[item.key, item.version, item.size_bytes] = item
        in_order = tuple(items[at] for at in sorted(items))
        return self.model_copy(update={"items": in_order, "complete": False})

    def finished(self, kept: Mapping[ObjectInfo, str]) -> "Inventory":
        """Say that all of it was removed, but for what locks keep.

        Args:
            kept: What it is, and by which lock.
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
        """Of all items together."""
        return sum(item.size_bytes for item in self.items)

    @property
    def canonical(self) -> bytes:
        """As it is stored, and as its digest covers it."""
        document = self.model_dump(mode="json", by_alias=True)
        # What earlier versions wrote has neither, and stays the bytes that were signed.
        if not document["commitments"]:
            del document["commitments"]
        for residual in document["residuals"]:
            if not residual["keptBy"]:
                del residual["keptBy"]
        return rfc8785.dumps(document)

    @property
    def digest(self) -> Digest:
        """Of its stored bytes."""
        return digest_of_bytes(self.canonical)


def residuals_of(infos: Iterable[ObjectInfo]) -> tuple[Residual, ...]:
    """Write down what lies under no manifest."""
    return tuple(
        Residual(key=info.key, version=info.version, size_bytes=info.size_bytes) for info in infos
    )


def read_inventory(store: ObjectStore, keys: Keys, shard_uid: str) -> Inventory | None:
    """Read what earlier runs found, or None where there was none.

    Raises:
        Refused: It is no inventory that this version understands.
    """
    key = keys.inventory(shard_uid)
    data = store.get(key)
    if data is None:
        return None
    try:
        inventory = Inventory.model_validate_json(data)
    except ValidationError as error:
        raise _refused(key, f"it is no inventory: {error.errors()[0]['msg']}") from error
    if inventory.version != 1 or inventory.shard.uid != shard_uid or inventory.canonical != data:
        raise _refused(key, f"it was edited, or is not of shard {shard_uid}")
    return inventory


def write_inventory(store: ObjectStore, keys: Keys, inventory: Inventory) -> None:
    """Store it, in the place of what earlier runs wrote."""
    store.put(keys.inventory(inventory.shard.uid), inventory.canonical)


def _refused(key: str, why: str) -> Refused:
    return Refused(
        f"{key} is refused: {why}",
        help="restore it; without it nobody can say what earlier purges removed",
        exit_code=ExitCode.WRONG_DIGEST,
    )
