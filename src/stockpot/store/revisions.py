"""Fetches a revision's weights from the store to a local file, after every check. No torch.

Serving and evaluation load revisions through this module.
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
    """Download the weights of a revision, and check them in full.

    Args:
        store: The store.
        keys: The keys of the soup's namespace.
        soup_uid: The UID of the soup.
        revision: The digests of the revision, and its expected lineage.
        into: A folder for the file, which appears whole or not at all.

    Returns:
        The local file: it has the named digest, is canonical, and all of its numbers are finite.

    Raises:
        Refused: A shard of the lineage has a tombstone, before or after the fetch (exit 47). There
            is no such revision, it was cut short or edited, or its lineage holds shards that were
            not named (46).
        Transient: The store fails.
    """
    named = {pair.shard for pair in revision.lineage}
    refuse_forgotten(store, keys, named, revision.lineage)
    folder_key = keys.revision(soup_uid, revision.recipe_digest)
    manifest = read_manifest(store, folder_key)
    if manifest is None or manifest.kind is not ArtefactKind.REVISION:
        raise _refused(folder_key, "there is no revision there")
    unnamed = sorted({pair.shard for pair in manifest.lineage} - named)
    if unnamed:
        # The caller would report a smaller lineage than it holds.
        raise _refused(folder_key, f"it was made from shards that were not named: {unnamed}")
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
