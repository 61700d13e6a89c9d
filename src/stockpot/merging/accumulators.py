"""Accumulators in the store: finds the nearest one, publishes new ones, deletes old ones.

Each lies in the folder of its recipe with its lineage, like every artefact, so that a purge finds
it. A merge keeps the one that it wrote and the one that it started from, and deletes the others of
its soup.
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
from stockpot.merging.strategy import IngredientKey, ingredient_key, step_between
from stockpot.store.artefacts import begin, find_complete, is_complete, publish, read_manifest
from stockpot.store.keys import MANIFEST, SUMS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import object_bytes
from stockpot.store.tombstones import refuse_forgotten


@dataclass(frozen=True)
class Candidate:
    """The sums of another recipe, and the step from them to the wanted recipe."""

    folder_key: str
    manifest: Manifest
    step: Step
    read: tuple[RecipePart, ...]
    """The ingredients that the step reads; those that leave are parts of the other recipe."""

    def opened(self, store: ObjectStore) -> Accumulator:
        """Open the accumulator.

        Raises:
            Refused: It is not the one that its manifest describes (exit 46).
        """
        accumulator = open_accumulator(object_bytes(store, self.folder_key + SUMS))
        if accumulator.index.recipe != self.manifest.recipe_digest:
            raise refused(accumulator.source.name, f"it sums the recipe {accumulator.index.recipe}")
        return accumulator


def nearest_sums(
    store: ObjectStore,
    keys: Keys,
    soup_uid: str,
    parts: Mapping[IngredientKey, RecipePart],
    base: Digest,
) -> Candidate | None:
    """Find the sums that are the fewest ingredients away from a recipe.

    Sums with a forgotten shard in their lineage or with an invalid manifest are ignored.

    Args:
        store: The store.
        keys: The keys of the soup's namespace.
        soup_uid: The UID of the soup.
        parts: The parts of the recipe.
        base: The base that all ingredients were trained from.
    """
    wanted = {key: part.weight for key, part in parts.items()}
    candidates: list[Candidate] = []
    for folder_key in _folders(store, keys, soup_uid):
        try:
            manifest = find_complete(store, folder_key)
            if manifest is None or manifest.kind is not ArtefactKind.ACCUMULATOR:
                continue
            shards = {pair.shard for pair in manifest.lineage}
            refuse_forgotten(store, keys, shards, manifest.lineage)
        except Refused:
            continue
        theirs = {ingredient_key(part): part for part in manifest.parts}
        if manifest.base_digest != base or not wanted.keys() & theirs.keys():
            continue
        step, read = step_between({key: part.weight for key, part in theirs.items()}, wanted)
        if read:  # Else only the output format differs: there are no ingredients to read.
            chosen = tuple(parts.get(key) or theirs[key] for key in read)
            candidates.append(Candidate(folder_key, manifest, step, chosen))
    return min(
        candidates, key=lambda candidate: (len(candidate.read), candidate.folder_key), default=None
    )


def publish_sums(
    store: ObjectStore, folder_key: str, path: Path, seal: Digest, revision: Manifest
) -> None:
    """Publish the sums that were written beside a revision.

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
    """Delete a soup's accumulators, except some: sums first, so that none is without a manifest.

    Of an accumulator that was begun and not finished only the sums are deleted: another merge may
    be about to write them, and the manifest holds their lineage.

    Args:
        store: The store.
        keys: The keys of the soup's namespace.
        soup_uid: The UID of the soup.
        keep: The folders that stay.
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
    """Return the lineage of a weighted sum: that of its ingredients."""
    pairs = {(part.shard_uid, part.training_key) for part in parts}
    return tuple(LineagePair(shard=uid, training_key=key) for uid, key in sorted(pairs))


def _folders(store: ObjectStore, keys: Keys, soup_uid: str) -> list[str]:
    above = keys.accumulators(soup_uid)
    return sorted({info.key[: info.key.rfind("/") + 1] for info in store.list(above)} - {above})
