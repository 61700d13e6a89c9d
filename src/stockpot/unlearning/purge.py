"""The verb: remove everything of a shard's lineage from the store, behind a tombstone.

    1 tombstone     from here on no verb reads or publishes anything of the shard
    2 sweep         everything whose manifest names the shard, in every soup, and all that lies
                    under the shard's own folder
    3 inventory     what is about to be removed, stored
    4 removal       files first, manifests last: a crash leaves no object without its lineage
    5 sweep again   must find nothing
    6 inventory     with the results

Each step may be cut off and is done again by the next run. What lies under no manifest has no
known lineage; it is listed, not removed, because it may be somebody else's.
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
from stockpot.unlearning.collect import collect
from stockpot.unlearning.commitments import keep
from stockpot.unlearning.inventory import (
    Inventory,
    Sweep,
    read_inventory,
    residuals_of,
    write_inventory,
)
from stockpot.unlearning.removal import (
    ARTEFACTS,
    folder_of,
    folders_above,
    in_order,
    is_outdated,
    learnt_in,
)
from stockpot.unlearning.tombstone import Tombstone, stand_tombstone

NAMED_RESIDUALS, LONGEST_KEY = 3, 200
"""Of what a result names: it is 4,096 bytes at most, and the inventory has them all."""


@dataclass(frozen=True)
class Found:
    """What one sweep saw."""

    tainted: tuple[ObjectInfo, ...]
    """In the order in which to remove it."""
    unknown: tuple[ObjectInfo, ...]


def run(
    spec: PurgeRun, *, work: Path, progress: Progress, stop: threading.Event
) -> PurgeResult | RescanResult:
    """Purge one shard; or none, and look for what came back of those that were purged before.

    Raises:
        Waiting: Something of the shard was written meanwhile; the next run removes it. Or more
            records have left the shard since the run was asked for: it knows too little.
        Refused: The inventory of earlier runs was edited (exit 43).
        Transient: The store fails.
        StockpotError: It was asked to end (75); the next run goes on.
    """
    del work
    store, keys = open_store(spec.store), Keys(spec.soup.namespace)
    if spec.shard is None:
        return collect(store, keys, spec, progress, stop)
    uid = spec.shard.uid
    progress.begin("tombstone")
    if spec.former:
        refuse_outdated(store, keys, spec.former.shard, spec.former.left_out)
    stand_tombstone(store, keys, Tombstone(shard=uid, soup=spec.soup.uid, at=now()))
    if spec.former:
        leave_out_at_least(store, keys, spec.former.shard, spec.former.left_out)
    progress.begin("sweeping")
    before = read_inventory(store, keys, uid)
    found = sweep(store, keys, uid, spec.former)
    same = before and before.residuals == residuals_of(found.unknown)
    if before and before.complete and same and not found.tainted:
        return _result(before, reused=True)
    listed = before or Inventory(soup=spec.soup, shard=spec.shard)
    if spec.former and not listed.commitments:
        # Before their salts go. The sweep that finds those comes after it.
        made = keep(store, keys, spec.former.shard, spec.former.records)
        listed = listed.model_copy(update={"commitments": made})
        found = sweep(store, keys, uid, spec.former)
    listed = _seen(listed.listing(found.tainted), found)
    write_inventory(store, keys, listed)

    progress.begin("purging", total_steps=len(found.tainted))
    kept: dict[ObjectInfo, str] = {}
    for number, info in enumerate(found.tainted, start=1):
        raise_if_stopping(
            stop,
            "The purge ended when asked to, with some objects removed.",
            help="Run it again: it removes the others.",
        )
        # The lineage of what stays has to stay, too.
        if why := _kept_below(info, kept) or _purge(store, info):
            kept[info] = why
        progress.advance(number)

    progress.begin("sweeping")
    again = sweep(store, keys, uid, spec.former)
    swept = _seen(listed, again)
    if new := [info for info in again.tainted if info not in kept]:
        write_inventory(store, keys, swept)
        raise Waiting(
            f"{len(new)} objects of shard {uid} appeared while it was purged, "
            f"{new[0].key} among them",
            help="something that writes it still runs; end it, and run the purge again",
        )
    inventory = swept.finished(kept)
    write_inventory(store, keys, inventory)
    return _result(inventory, reused=False)


def sweep(
    store: ObjectStore, keys: Keys, shard_uid: str, former: FormerRecords | None = None
) -> Found:
    """Look at everything in the namespace.

    Args:
        store: Where.
        keys: Of the namespace.
        shard_uid: What is to be found.
        former: Where the shard goes on without some records: what had them, and what is kept.
    """
    seen = list(with_manifests(store, learnt_in(store.list_versions(f"{keys.namespace}/"))))
    tainted_folders = {keys.shard(shard_uid)}
    for info, manifest in seen:
        if _is_tainted(info, manifest, keys, shard_uid, former):
            tainted_folders.add(folder_of(info.key))
    tainted, unknown = [], []
    for info, manifest in seen:
        # All below a tainted folder is tainted, whatever a manifest further down says.
        if any(folder in tainted_folders for folder in folders_above(info.key)):
            tainted.append(info)
        elif manifest is None and info.key.split("/")[1] in ARTEFACTS:
            unknown.append(info)
    return Found(in_order(tainted), tuple(unknown))


def _kept_below(info: ObjectInfo, kept: Mapping[ObjectInfo, str]) -> str:
    """Of a manifest, which lock keeps something that it covers."""
    if not info.key.endswith(f"/{MANIFEST}"):
        return ""
    folder = folder_of(info.key)
    return next((why for one, why in kept.items() if one.key.startswith(folder)), "")


def _purge(store: ObjectStore, info: ObjectInfo) -> str:
    """Remove one thing; say which lock keeps it, where one does.

    Raises:
        Transient: The store fails, or refuses it for another reason.
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
    """Whether it is of what is unlearned.

    Where a shard goes on without some records, all of its own folder is but what was asked for
    now: of a training that was broken off to leave out still more records nobody knows the key.
    """
    if manifest is None:
        return False
    if former and info.key.startswith(keys.shard(former.shard)):
        return is_outdated(manifest, former)
    return any(is_meant(o.shard, o.training_key, shard_uid) for o in manifest.lineage)


def _seen(inventory: Inventory, found: Found) -> Inventory:
    look = Sweep(at=now(), found=len(found.tainted))
    return inventory.model_copy(
        update={
            "sweeps": (*inventory.sweeps, look),
            "residuals": residuals_of(found.unknown),
        }
    )


def _result(inventory: Inventory, *, reused: bool) -> PurgeResult:
    return PurgeResult(
        reused=reused,
        purged_objects=len(inventory.items),
        purged_bytes=inventory.size_bytes,
        inventory_digest=inventory.digest,
        residuals=tuple(
            residual.key[-LONGEST_KEY:] for residual in inventory.residuals[:NAMED_RESIDUALS]
        ),
        residual_count=len(inventory.residuals),
        locked_count=sum(1 for residual in inventory.residuals if residual.kept_by),
    )
