"""Which objects of a namespace hold learnt content, and in which order to remove them. Pure."""

from collections.abc import Iterable, Sequence

from stockpot.api.manifest import Manifest
from stockpot.api.runspec import FormerRecords, KeptTrainings
from stockpot.store.keys import MANIFEST, NAMESPACE_MARK
from stockpot.store.port import ObjectInfo

KEPT_FOR_EVER = ("receipts", "tombstones", "inventories", "unlearned", NAMESPACE_MARK)
"""What is kept below a namespace's prefix; nothing that was learnt is in it."""
ARTEFACTS = ("soups", "shards")


def learnt_objects(infos: Iterable[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    """Select the objects of a namespace that may hold something learnt."""
    return tuple(info for info in infos if info.key.split("/")[1] not in KEPT_FOR_EVER)


def is_in_artefacts(key: str) -> bool:
    """Whether a key of a namespace lies where artefacts lie."""
    return key.split("/")[1] in ARTEFACTS


def removal_order(infos: Iterable[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    """Sort files first, then manifests, innermost first: a crash leaves none without lineage."""
    return tuple(sorted(infos, key=_order))


def folder_of(key: str) -> str:
    """Return the folder of a key, ending in a slash."""
    return key[: key.rfind("/") + 1]


def folders_above(key: str) -> Sequence[str]:
    """Return all parent folders of a key, outermost first."""
    parts = key.split("/")[:-1]
    return ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1)]


def is_outdated(manifest: Manifest, still: FormerRecords | KeptTrainings) -> bool:
    """Whether an artefact in a shard's own folder was made with records that left the shard.

    Records never come back, so an artefact that leaves out at least as many was requested later. A
    manifest without that number is recognised by its request, because an interrupted training has
    no known key.

    Args:
        manifest: The manifest that covers the artefact.
        still: What the shard lives on with, from the RunSpec.
    """
    if manifest.left_out:
        return manifest.left_out < still.left_out
    is_kept = any(pair.training_key == still.kept for pair in manifest.lineage)
    return manifest.request not in still.requests and not is_kept


def _order(info: ObjectInfo) -> tuple[bool, int, str, str]:
    is_manifest = info.key.endswith(f"/{MANIFEST}")
    return is_manifest, -info.key.count("/") if is_manifest else 0, info.key, info.version
