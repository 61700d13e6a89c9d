"""Accumulators in the store: which one to go by, how one is published, when one goes.

Each lies in the folder of its recipe, with its lineage, as every artefact: a purge finds it. A
merge keeps the one that it made and the one that it went by, and deletes the others of its soup.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest, RecipePart
from stockpot.core.digests import Digest
from stockpot.errors import Refused
from stockpot.merging.accumulator import Accumulator, open_accumulator, refused
from stockpot.merging.step import Step
from stockpot.merging.strategy import Named, named, step_between
from stockpot.store.artefacts import begin, find_complete, is_complete, publish, read_manifest
from stockpot.store.keys import MANIFEST, SUMS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import object_bytes
from stockpot.store.tombstones import refuse_forgotten


@dataclass(frozen=True)
class Candidate:
    """The sums of another recipe, and the step from them to the one that is wanted."""

    folder_key: str
    manifest: Manifest
    step: Step
    read: tuple[RecipePart, ...]
    """The ingredients that the step reads; those that leave are parts of the other recipe."""

    def opened(self, store: ObjectStore) -> Accumulator:
        """Read what the accumulator says of itself.

        Raises:
            Refused: It is not the one that its manifest describes (exit 46).
        """
        found = open_accumulator(object_bytes(store, self.folder_key + SUMS))
        if found.index.recipe != self.manifest.recipe_digest:
            raise refused(found.source.name, f"it is the sum of {found.index.recipe}")
        return found


def nearest_sums(
    store: ObjectStore, keys: Keys, soup_uid: str, parts: Mapping[Named, RecipePart], base: Digest
) -> Candidate | None:
    """Find the sums that are the fewest ingredients away from a recipe.

    What has a forgotten shard in its lineage is not read, nor is what cannot be understood.

    Args:
        store: Where.
        keys: Of the soup's namespace.
        soup_uid: Of the soup.
        parts: Of the recipe.
        base: What all ingredients were trained from.
    """
    wanted = {one: part.weight for one, part in parts.items()}
    found: list[Candidate] = []
    for folder_key in _folders(store, keys, soup_uid):
        try:
            manifest = find_complete(store, folder_key)
            if manifest is None or manifest.kind is not ArtefactKind.ACCUMULATOR:
                continue
            refuse_forgotten(store, keys, {one.shard for one in manifest.lineage}, manifest.lineage)
        except Refused:
            continue
        theirs = {named(part): part for part in manifest.parts}
        if manifest.base_digest != base or not wanted.keys() & theirs.keys():
            continue
        step, read = step_between({one: part.weight for one, part in theirs.items()}, wanted)
        if read:  # Else only the output is another; there is nothing to go over.
            chosen = tuple(parts.get(one) or theirs[one] for one in read)
            found.append(Candidate(folder_key, manifest, step, chosen))
    return min(found, key=lambda one: (len(one.read), one.folder_key), default=None)


def publish_sums(
    store: ObjectStore, folder_key: str, path: Path, seal: Digest, revision: Manifest
) -> None:
    """Keep the sums that were made beside a revision.

    Raises:
        Transient: The store fails.
    """
    manifest = Manifest(
        kind=ArtefactKind.ACCUMULATOR,
        lineage=lineage_of(revision.parts),
        base_digest=revision.base_digest,
        digest=seal,
        size_bytes=path.stat().st_size,
        recipe_digest=revision.recipe_digest,
        parts=revision.parts,
        made_by=f"stockpot {__version__}",
    )
    begin(store, folder_key, manifest)
    publish(store, folder_key, {SUMS: path}, manifest)


def retire(store: ObjectStore, keys: Keys, soup_uid: str, keep: set[str]) -> None:
    """Delete a soup's accumulators, but some: the sums first, so that they never lie alone.

    Where one was begun and not finished only the sums go: somebody may be about to write them, and
    the manifest says whose they are.

    Args:
        store: Where.
        keys: Of the soup's namespace.
        soup_uid: Of the soup.
        keep: Folders that stay.
    """
    for folder_key in _folders(store, keys, soup_uid):
        if folder_key in keep:
            continue
        try:
            manifest = read_manifest(store, folder_key)
        except Refused:
            continue
        store.delete(folder_key + SUMS)
        if manifest is not None and is_complete(manifest):
            store.delete(folder_key + MANIFEST)


def lineage_of(parts: tuple[RecipePart, ...]) -> tuple[LineagePair, ...]:
    """What a weighted sum of ingredients was made from: theirs, and no other's."""
    pairs = {(part.shard_uid, part.training_key) for part in parts}
    return tuple(LineagePair(shard=uid, training_key=key) for uid, key in sorted(pairs))


def _folders(store: ObjectStore, keys: Keys, soup_uid: str) -> list[str]:
    above = keys.accumulators(soup_uid)
    return sorted({info.key[: info.key.rfind("/") + 1] for info in store.list(above)} - {above})
