"""A revision's weights, from the store to a local file, with every reason to refuse them. No torch.

Whoever loads a revision, to serve it or to look at it, gets it here.
"""

from pathlib import Path

from stockpot.api.manifest import ArtefactKind
from stockpot.api.runspec import RevisionRef
from stockpot.errors import ExitCode, Refused
from stockpot.store.artefacts import fetch_weights, read_manifest
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.tombstones import refuse_forgotten
from stockpot.store.weights import inspect_weights


def fetch_revision(
    store: ObjectStore, keys: Keys, soup_uid: str, revision: RevisionRef, into: Path
) -> Path:
    """Bring the weights of a revision here, looked at in full.

    Args:
        store: Where it lies.
        keys: Of the soup's namespace.
        soup_uid: Of the soup.
        revision: Which one, by its digests, and what it is said to be made from.
        into: A folder for the file, which appears whole or not at all.

    Returns:
        The local file: of the digest that was named, canonical, all of its numbers finite.

    Raises:
        Refused: A tombstone stands for a shard of the lineage, before or after the fetch (exit
            47). There is no such revision, it was cut short or edited, or it was made from more
            than was said (46).
        Transient: The store fails.
    """
    named = {pair.shard for pair in revision.lineage}
    refuse_forgotten(store, keys, named, revision.lineage)
    folder_key = keys.revision(soup_uid, revision.recipe_digest)
    manifest = read_manifest(store, folder_key)
    if manifest is None or manifest.kind is not ArtefactKind.REVISION:
        raise _refused(folder_key, "there is no revision there")
    unsaid = sorted({pair.shard for pair in manifest.lineage} - named)
    if unsaid:
        # Whoever asked would report to hold less than is held.
        raise _refused(folder_key, f"it was made from shards that were not named: {unsaid}")
    path = fetch_weights(store, folder_key, into, revision.weights_digest)
    inspect_weights(path)
    refuse_forgotten(store, keys, named, revision.lineage)
    return path


def _refused(folder_key: str, why: str) -> Refused:
    return Refused(
        f"{folder_key} is refused: {why}",
        help="delete its folder in the store to have it merged again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
