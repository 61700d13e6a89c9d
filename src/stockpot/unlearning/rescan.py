"""Rescans a store for artefacts of forgotten shards that were written after their purge.

A late writer, or a store that was restored from a backup, can bring some back. A rescan is a purge
without a shard: it signs nothing and changes no inventory, because receipts name inventories by
digest. In a restored store it writes missing tombstones again.
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
from stockpot.unlearning.removal import folder_of, is_outdated, learnt_objects, removal_order
from stockpot.unlearning.tombstone import Tombstone, write_tombstone

NAMED_RECEIPTS = 16
"""How many receipts without an object a result names; the next rescan names others."""


def rescan(
    store: ObjectStore,
    keys: Keys,
    spec: PurgeRun,
    progress: Progress,
    stop: threading.Event,
) -> RescanResult:
    """Remove resurrected artefacts, and name receipts of the soup that have no object.

    Args:
        store: The store to scan.
        keys: The store keys of the namespace.
        spec: Names the soup, the tombstones (of shards, and of single trainings of shards), and the
            receipts that have an object.
        progress: Goes through `sweeping` and `purging`.
        stop: Set to interrupt; the next rescan removes the rest.

    Raises:
        Transient: The store fails.
        StockpotError: It was interrupted (75).
    """
    for uid in spec.forgotten:
        write_tombstone(store, keys, Tombstone(shard=uid, soup=spec.soup.uid, at=now()))
    progress.begin("sweeping")
    resurrected = removal_order(_resurrected(store, keys, set(spec.forgotten), spec.kept))
    progress.begin("purging", total_steps=len(resurrected))
    for number, info in enumerate(resurrected, start=1):
        raise_if_stopping(
            stop,
            "The rescan was interrupted before it had removed everything that reappeared.",
            help="Run it again: it removes the rest.",
        )
        store.purge(info)
        progress.advance(number)
    unrecorded = receipts_without(store, keys, spec.soup.uid, spec.recorded_receipts)
    return RescanResult(
        unrecorded_receipts=tuple(islice(unrecorded, NAMED_RECEIPTS)),
        purged_objects=len(resurrected),
        purged_bytes=sum(info.size_bytes for info in resurrected),
    )


def _resurrected(
    store: ObjectStore,
    keys: Keys,
    forgotten: Collection[str],
    kept: Collection[KeptTrainings],
) -> list[ObjectInfo]:
    listing = list(with_manifests(store, learnt_objects(store.list_versions(f"{keys.namespace}/"))))
    shards = tuple(keys.shard(uid) for uid in sorted(forgotten) if "." not in uid)
    kept_in = {keys.shard(trainings.shard): trainings for trainings in kept}
    folders = {
        folder_of(info.key)
        for info, manifest in listing
        if manifest and (_is_forgotten(manifest, forgotten) or _is_old(info, manifest, kept_in))
    }
    return [
        info
        for info, _ in listing
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
    """Return whether a shard's artefact is older than the last removal of records from the shard.

    The salts of commitments belong to no training: the purge that reads them removes them.
    """
    folder = next((folder for folder in kept_in if info.key.startswith(folder)), None)
    if folder is None or manifest.kind is ArtefactKind.COMMITMENTS:
        return False
    return is_outdated(manifest, kept_in[folder])
