"""Checks that a shard is gone from the store: by its folder, by lineage, and by its inventory.

Pure: takes a listing, and yields verdicts.
"""

from collections.abc import Iterator

from stockpot.core.recipe import is_meant
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo
from stockpot.unlearning.inventory import Inventory
from stockpot.unlearning.verify.store_listing import StoreListing
from stockpot.unlearning.verify.verdict import Check, failed, proven, unknown

SHOWN = 3


def check_absence(
    about: str, listing: StoreListing, keys: Keys, shard_uid: str, inventory: Inventory | None
) -> Iterator[Check]:
    """Check a full listing for objects of one shard."""
    # Objects that the signed inventory reports as locked do not contradict the receipt.
    locked = (
        {residual.key: residual.kept_by for residual in inventory.residuals if residual.kept_by}
        if inventory
        else {}
    )
    named = _folders(
        info
        for info, manifest in listing.objects
        if manifest
        and info.key not in locked
        and any(is_meant(o.shard, o.training_key, shard_uid) for o in manifest.lineage)
    )
    folders = _folders(info for info, manifest in listing.objects if manifest)
    kept = (
        f"{len(locked)} objects of it are kept by {next(iter(locked.values()))}" if locked else ""
    )
    claim = "no lineage in the store names it"
    if named:
        yield failed(about, claim, f"these were made with it: {_some(named)}")
    elif kept:
        yield unknown(about, claim, f"but for what the receipt admits: {kept}")
    else:
        yield proven(about, claim, f"of {len(folders)} artefacts, none")

    removed = {item.key for item in inventory.items} if inventory else set()
    back = sorted(
        {
            info.key
            for info, _ in listing.objects
            if not info.is_delete_marker
            and info.key not in locked
            and (info.key.startswith(keys.shard(shard_uid)) or info.key in removed)
        }
    )
    claim = "none of its objects is back, in any version"
    if back:
        yield failed(about, claim, f"this is there again: {_some(back)}")
    elif kept:
        yield unknown(about, claim, f"but for what the receipt admits: {kept}")
    elif listing.versions_error:
        why = f"nothing does now, but older versions were not shown: {listing.versions_error}"
        yield unknown(about, claim, why)
    else:
        yield proven(about, claim, f"a full listing: {len(listing.objects)} objects and versions")


def check_lineage(about: str, listing: StoreListing) -> Check:
    """Check that everything in the store has a lineage."""
    claim = "everything in it has a lineage"
    keys = sorted({info.key for info in listing.unaccounted})
    if keys:
        return unknown(about, claim, f"these are under no manifest: {_some(keys)}")
    return proven(about, claim)


def _folders(infos: Iterator[ObjectInfo]) -> list[str]:
    return sorted({info.key[: info.key.rfind("/") + 1] for info in infos})


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
