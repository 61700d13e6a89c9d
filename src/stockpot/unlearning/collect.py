"""Remove what came back of what was forgotten: written by who woke up after the receipt.

A purge without a shard. It signs nothing and touches no inventory, because receipts name those by
digest. In a store that was set back it stands the tombstones again that are missing.
"""

import threading
from collections.abc import Collection, Mapping
from itertools import islice

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.results import RescanResult
from stockpot.api.runspec import KeptTrainings, PurgeRun
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.artefacts import with_manifests
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.store.receipts import receipts_without
from stockpot.unlearning.clock import now
from stockpot.unlearning.removal import folder_of, in_order, is_outdated, learnt_in
from stockpot.unlearning.tombstone import Tombstone, stand_tombstone

NAMED_RECEIPTS = 16
"""Receipts without an object that a result names; the next look names others."""


def collect(
    store: ObjectStore,
    keys: Keys,
    spec: PurgeRun,
    progress: Progress,
    stop: threading.Event,
) -> RescanResult:
    """Look once, remove what there is, and name receipts of the soup that have no object.

    Args:
        store: Where.
        keys: Keys of the namespace.
        spec: Names the soup, the tombstones (of shards, and of single trainings of shards), and the
            receipts that have an object.
        progress: Goes through `sweeping` and `purging`.
        stop: Set to end; the next look removes what is left.

    Raises:
        Transient: The store fails.
        StockpotError: It was asked to end (75).
    """
    for uid in spec.forgotten:
        stand_tombstone(store, keys, Tombstone(shard=uid, soup=spec.soup.uid, at=now()))
    progress.begin("sweeping")
    found = in_order(_came_back(store, keys, set(spec.forgotten), spec.kept))
    progress.begin("purging", total_steps=len(found))
    for number, info in enumerate(found, start=1):
        raise_if_stopping(
            stop,
            "The look for what came back ended when asked to.",
            help="Run it again: it removes the others.",
        )
        store.purge(info)
        progress.advance(number)
    unrecorded = receipts_without(store, keys, spec.soup.uid, spec.recorded_receipts)
    return RescanResult(
        unrecorded_receipts=tuple(islice(unrecorded, NAMED_RECEIPTS)),
        purged_objects=len(found),
        purged_bytes=sum(info.size_bytes for info in found),
    )


def _came_back(
    store: ObjectStore,
    keys: Keys,
    forgotten: Collection[str],
    kept: Collection[KeptTrainings],
) -> list[ObjectInfo]:
    seen = list(with_manifests(store, learnt_in(store.list_versions(f"{keys.namespace}/"))))
    shards = tuple(keys.shard(uid) for uid in sorted(forgotten) if "." not in uid)
    kept_in = {keys.shard(trainings.shard): trainings for trainings in kept}
    folders = {
        folder_of(info.key)
        for info, manifest in seen
        if manifest and (_is_forgotten(manifest, forgotten) or _is_old(info, manifest, kept_in))
    }
    return [
        info
        for info, _ in seen
        if info.key.startswith(shards or ("\0",))
        or any(info.key.startswith(folder) for folder in folders)
    ]


def _is_forgotten(manifest: Manifest, forgotten: Collection[str]) -> bool:
    return any(
        pair.shard in forgotten
        or former_of(Ingredient(ShardUID(pair.shard), Digest(pair.training_key))) in forgotten
        for pair in manifest.lineage
    )


def _is_old(info: ObjectInfo, manifest: Manifest, kept_in: Mapping[str, KeptTrainings]) -> bool:
    """Whether it lies in a shard's own folder, and records have left the shard since it was made.

    Salts of commitments are no training: they go with the purge that reads them.
    """
    folder = next((folder for folder in kept_in if info.key.startswith(folder)), None)
    if folder is None or manifest.kind is ArtefactKind.COMMITMENTS:
        return False
    return is_outdated(manifest, kept_in[folder])
