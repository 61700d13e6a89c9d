"""Remove what came back of what was forgotten: written by who woke up after the receipt.

A purge without a shard. It signs nothing and touches no inventory, because receipts name those by
digest. In a store that was set back it stands the tombstones again that are missing.
"""

import threading
from collections.abc import Collection, Sequence

from stockpot.api.runspec import RunResult
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import ExitCode, StockpotError
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import covering_manifests
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.unlearning.clock import now
from stockpot.unlearning.removal import RECORDS, folder_of, in_order
from stockpot.unlearning.tombstone import Tombstone, stand_tombstone


def collect(
    store: ObjectStore,
    keys: Keys,
    soup_uid: str,
    forgotten: Sequence[str],
    progress: Progress,
    stop: threading.Event,
) -> RunResult:
    """Look once, and remove what there is.

    Args:
        store: Where.
        keys: Of the namespace.
        soup_uid: Whose receipts they are.
        forgotten: Names of tombstones: shards, and single trainings of shards.
        progress: Goes through `sweeping` and `purging`.
        stop: Set to end; the next look removes what is left.

    Raises:
        Transient: The store fails.
        StockpotError: It was asked to end (75).
    """
    for uid in forgotten:
        stand_tombstone(store, keys, Tombstone(shard=uid, soup=soup_uid, at=now()))
    progress.begin("sweeping")
    found = in_order(_came_back(store, keys, set(forgotten)))
    progress.begin("purging", total_steps=len(found))
    for number, info in enumerate(found, start=1):
        if stop.is_set():
            raise StockpotError(
                "The look for what came back ended when asked to.",
                help="Run it again: it removes the others.",
                exit_code=ExitCode.INTERRUPTED,
            )
        store.purge(info)
        progress.advance(number)
    return RunResult(
        purged_objects=len(found),
        purged_bytes=sum(info.size_bytes for info in found),
        figures={"residuals": "0"},
    )


def _came_back(store: ObjectStore, keys: Keys, forgotten: Collection[str]) -> list[ObjectInfo]:
    seen = [
        (info, manifest)
        for info, manifest in covering_manifests(store, f"{keys.namespace}/")
        if info.key.split("/")[1] not in RECORDS
    ]
    shards = tuple(keys.shard(uid) for uid in sorted(forgotten) if "." not in uid)
    folders = {
        folder_of(info.key)
        for info, manifest in seen
        if manifest
        and any(
            one.shard in forgotten
            or former_of(Ingredient(ShardUID(one.shard), Digest(one.training_key))) in forgotten
            for one in manifest.lineage
        )
    }
    return [
        info
        for info, _ in seen
        if info.key.startswith(shards or ("\0",))
        or any(info.key.startswith(folder) for folder in folders)
    ]
