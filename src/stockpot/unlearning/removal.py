"""Which folders of a namespace hold what was learnt, and in which order it is removed. Pure."""

from collections.abc import Iterable, Sequence

from stockpot.api.manifest import Manifest
from stockpot.api.runspec import FormerRecords, KeptTrainings
from stockpot.store.keys import MANIFEST
from stockpot.store.port import ObjectInfo

RECORDS = ("receipts", "tombstones", "inventories")
"""Folders of a namespace that hold what is kept for ever, and nothing that was learnt."""
ARTEFACTS = ("soups", "shards")


def learnt_in(infos: Iterable[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    """Choose those objects of a namespace that may hold something that was learnt."""
    return tuple(info for info in infos if info.key.split("/")[1] not in RECORDS)


def in_order(infos: Iterable[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    """Files first; then manifests, the innermost first: a crash leaves nothing without lineage."""
    return tuple(sorted(infos, key=_order))


def folder_of(key: str) -> str:
    """The folder that a key lies in, ending in a slash."""
    return key[: key.rfind("/") + 1]


def folders_above(key: str) -> Sequence[str]:
    """Every folder that a key lies in, the outermost first."""
    parts = key.split("/")[:-1]
    return ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1)]


def is_outdated(manifest: Manifest, still: FormerRecords | KeptTrainings) -> bool:
    """Whether what lies in a shard's own folder was made with records that left the shard.

    A record that left stays out, so whatever leaves out as many was asked for after that. Where a
    manifest does not say how many, it is told by what was asked for: of a training that was broken
    off nobody knows the key.

    Args:
        manifest: The manifest that covers it.
        still: What the shard goes on with, as the run was told.
    """
    if manifest.left_out:
        return manifest.left_out < still.left_out
    is_kept = any(pair.training_key == still.kept for pair in manifest.lineage)
    return manifest.request not in still.requests and not is_kept


def _order(info: ObjectInfo) -> tuple[bool, int, str, str]:
    is_manifest = info.key.endswith(f"/{MANIFEST}")
    return is_manifest, -info.key.count("/") if is_manifest else 0, info.key, info.version
