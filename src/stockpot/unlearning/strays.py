"""Strays: objects below a namespace's artefacts that no manifest covers. A purge leaves them.

Stockpot writes an artefact's manifest before anything else. So a stray is from another program, or
planted, or its manifest was removed or edited. It may hold what a shard taught, and keeps receipts
Incomplete until a person removes it.
"""

from collections.abc import Iterable

from stockpot.store.artefacts import with_manifests
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.unlearning.removal import is_in_artefacts, learnt_objects, removal_order


def find_strays(store: ObjectStore, keys: Keys) -> tuple[ObjectInfo, ...]:
    """Find all strays of a namespace, with every version of each, in removal order."""
    listed = learnt_objects(store.list_versions(f"{keys.namespace}/"))
    return removal_order(
        info
        for info, manifest in with_manifests(store, listed)
        if manifest is None and is_in_artefacts(info.key)
    )


def shown_key(key: str, longest: int) -> str:
    """Return a key for a message: its end where it is longer, escaped where it is not printable.

    Whoever plants an object chooses its name.
    """
    text = key if key.isprintable() else ascii(key)[1:-1]
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


def shown_keys(keys: Iterable[str], most: int, longest: int) -> tuple[str, ...]:
    """Return the first few of some keys for a message, each once, whatever versions it has."""
    return tuple(shown_key(key, longest) for key in list(dict.fromkeys(keys))[:most])
