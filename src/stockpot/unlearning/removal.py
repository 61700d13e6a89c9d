"""Which folders of a namespace hold what was learnt, and in which order it is removed. Pure."""

from collections.abc import Iterable, Sequence

from stockpot.store.keys import MANIFEST
from stockpot.store.port import ObjectInfo

RECORDS = ("receipts", "tombstones", "inventories")
"""Folders of a namespace that hold what is kept for ever, and nothing that was learnt."""
ARTEFACTS = ("soups", "shards")


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


def _order(info: ObjectInfo) -> tuple[bool, int, str, str]:
    is_manifest = info.key.endswith(f"/{MANIFEST}")
    return is_manifest, -info.key.count("/") if is_manifest else 0, info.key, info.version
