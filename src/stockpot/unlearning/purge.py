"""The verb `purge`: writes a shard's tombstone, and removes all of its lineage from the store.

    1 tombstone     from here on no verb reads or publishes anything of the shard
    2 sweep         finds everything whose manifest names the shard, in every soup, and everything
                    in the shard's own folder
    3 inventory     stores the list of what is about to be removed
    4 keyed list    keeps a keyed digest of each record, so that it comes back only by name
    5 removal       files first, manifests last: a crash leaves no object without its lineage
    6 sweep again   must find nothing
    7 inventory     stores the results

Each step may be interrupted, and the next run repeats it. An object under no manifest has no known
lineage; it is listed, not removed, because it may belong to another shard.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.manifest import Manifest
from stockpot.api.results import PurgeResult, RescanResult
from stockpot.api.runspec import FormerRecords, PurgeRun
from stockpot.core.recipe import is_meant
from stockpot.errors import Transient, Waiting
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.artefacts import with_manifests
from stockpot.store.keys import MANIFEST, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.store.tombstones import leave_out_at_least, refuse_outdated
from stockpot.unlearning.clock import now
from stockpot.unlearning.commitments import keep_commitments
from stockpot.unlearning.inventory import (
    Inventory,
    Sweep,
    read_inventory,
    residuals_of,
    write_inventory,
)
from stockpot.unlearning.purged_records import keep_records
from stockpot.unlearning.removal import (
    folder_of,
    folders_above,
    is_in_artefacts,
    is_outdated,
    learnt_objects,
    removal_order,
)
from stockpot.unlearning.rescan import rescan
from stockpot.unlearning.strays import shown_keys
from stockpot.unlearning.tombstone import Tombstone, write_tombstone
from stockpot.unlearning.unlearned_records import count_unlearned

NAMED_RESIDUALS, LONGEST_KEY = 3, 200
"""Limits on a result's residuals: a result has 4,096 bytes at most; the inventory has them all."""


@dataclass(frozen=True)
class SweepResult:
    """The objects that one sweep found."""

    tainted: tuple[ObjectInfo, ...]
    """Objects to remove, in removal order."""
    unknown: tuple[ObjectInfo, ...]
    """Objects under no readable manifest."""


def run(
    spec: PurgeRun, *, work: Path, progress: Progress, stop: threading.Event
) -> PurgeResult | RescanResult:
    """Purge one shard; without a shard, rescan for artefacts of shards that were purged before.

    Raises:
        Waiting: Something of the shard was written meanwhile; the next run removes it. Or more
            records have left the shard since this run was requested.
        Refused: The inventory of earlier runs was edited (exit 43).
        Transient: The store fails.
        StockpotError: It was interrupted (75); the next run continues.
    """
    del work
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    if spec.shard is None:
        return rescan(store, keys, spec, progress, stop)
    uid = spec.shard.uid
    progress.begin("tombstone")
    if spec.former:
        refuse_outdated(store, keys, spec.former.shard, spec.former.left_out)
    write_tombstone(store, keys, Tombstone(shard=uid, soup=spec.soup.uid, at=now()))
    if spec.former:
        leave_out_at_least(store, keys, spec.former.shard, spec.former.left_out)
    progress.begin("sweeping")
    before = read_inventory(store, keys, uid)
    swept = sweep(store, keys, uid, spec.former)
    same = before and before.residuals == residuals_of(swept.unknown)
    if before and before.complete and same and not swept.tainted:
        kept_digests = count_unlearned(store, keys, spec.soup.uid, uid)
        return _result(before, kept_digests, reused=True)
    listed = before or Inventory(soup=spec.soup, shard=spec.shard)
    if spec.former and not listed.commitments:
        # Before their salts are removed; the sweep below finds those.
        made = keep_commitments(store, keys, spec.former.shard, spec.former.records)
        listed = listed.model_copy(update={"commitments": made})
        swept = sweep(store, keys, uid, spec.former)
    listed = _with_sweep(listed.with_listed(swept.tainted), swept)
    write_inventory(store, keys, listed)
    kept_digests = keep_records(store, keys, spec, swept.tainted)

    progress.begin("purging", total_steps=len(swept.tainted))
    kept: dict[ObjectInfo, str] = {}
    for number, info in enumerate(swept.tainted, start=1):
        raise_if_stopping(
            stop,
            "The purge was interrupted after it had removed some objects.",
            help="Run it again: it removes the rest.",
        )
        # A manifest stays if anything that it covers stays.
        if why := _lock_below(info, kept) or _purge(store, info):
            kept[info] = why
        progress.advance(number)

    progress.begin("sweeping")
    again = sweep(store, keys, uid, spec.former)
    final = _with_sweep(listed, again)
    if new := [info for info in again.tainted if info not in kept]:
        write_inventory(store, keys, final)
        raise Waiting(
            f"{len(new)} objects of shard {uid} appeared while it was purged, "
            f"{new[0].key} among them",
            help="a run that writes it is still active; end it, and run the purge again",
        )
    inventory = final.with_results(kept)
    write_inventory(store, keys, inventory)
    return _result(inventory, kept_digests, reused=False)


def sweep(
    store: ObjectStore, keys: Keys, shard_uid: str, former: FormerRecords | None = None
) -> SweepResult:
    """Find everything of a shard in the namespace.

    Args:
        store: The store to scan.
        keys: The store keys of the namespace.
        shard_uid: The shard's UID.
        former: Where the shard lives on without some records: what had them, and what is kept.
    """
    listing = list(with_manifests(store, learnt_objects(store.list_versions(f"{keys.namespace}/"))))
    tainted_folders = {keys.shard(shard_uid)}
    for info, manifest in listing:
        if _is_tainted(info, manifest, keys, shard_uid, former):
            tainted_folders.add(folder_of(info.key))
    tainted, unknown = [], []
    for info, manifest in listing:
        # Everything below a tainted folder is tainted, whatever a manifest further down says.
        if any(folder in tainted_folders for folder in folders_above(info.key)):
            tainted.append(info)
        elif manifest is None and is_in_artefacts(info.key):
            unknown.append(info)
    return SweepResult(removal_order(tainted), tuple(unknown))


def _lock_below(info: ObjectInfo, kept: Mapping[ObjectInfo, str]) -> str:
    """Return the lock that keeps something which a manifest covers, or an empty string."""
    if not info.key.endswith(f"/{MANIFEST}"):
        return ""
    folder = folder_of(info.key)
    return next((why for covered, why in kept.items() if covered.key.startswith(folder)), "")


def _purge(store: ObjectStore, info: ObjectInfo) -> str:
    """Remove one object; return the lock that keeps it, or an empty string.

    Raises:
        Transient: The store fails, or refuses the removal for another reason.
    """
    try:
        store.purge(info)
    except Transient:
        if why := store.why_kept(info):
            return why
        raise
    return ""


def _is_tainted(
    info: ObjectInfo,
    manifest: Manifest | None,
    keys: Keys,
    shard_uid: str,
    former: FormerRecords | None,
) -> bool:
    """Whether an object's lineage has what is unlearned.

    Where a shard lives on without some records, that is everything in its own folder except current
    trainings. The lineage alone would miss a training that was interrupted: its key is not known.
    """
    if manifest is None:
        return False
    if former and info.key.startswith(keys.shard(former.shard)):
        return is_outdated(manifest, former)
    return any(is_meant(o.shard, o.training_key, shard_uid) for o in manifest.lineage)


def _with_sweep(inventory: Inventory, result: SweepResult) -> Inventory:
    look = Sweep(at=now(), count=len(result.tainted))
    return inventory.model_copy(
        update={
            "sweeps": (*inventory.sweeps, look),
            "residuals": residuals_of(result.unknown),
        }
    )


def _result(inventory: Inventory, kept_digests: int | None, *, reused: bool) -> PurgeResult:
    return PurgeResult(
        reused=reused,
        kept_digests=kept_digests,
        purged_objects=len(inventory.items),
        purged_bytes=inventory.size_bytes,
        inventory_digest=inventory.digest,
        residuals=shown_keys(
            (residual.key for residual in inventory.residuals), NAMED_RESIDUALS, LONGEST_KEY
        ),
        residual_count=len(inventory.residuals),
        locked_count=sum(1 for residual in inventory.residuals if residual.kept_by),
    )
