"""That what serves is the mean of the survivors' ingredients, bit by bit.

A receipt signs the successor's recipe digest. The digest covers every part, so the parts may come
from anywhere: here from the revision's manifest, or from the ingredients' own. How to average is
not known here; whoever composes the verifier brings it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stockpot.api.manifest import LineagePair, Manifest, RecipePart
from stockpot.api.runspec import RevisionRef
from stockpot.api.training import WeightsDtype
from stockpot.core import recipe
from stockpot.core.digests import PREFIX, Digest, digest_of_bytes
from stockpot.errors import Refused
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import MANIFEST, WEIGHTS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import blocks, object_bytes
from stockpot.unlearning.statement import UnlearningPredicate
from stockpot.unlearning.verify.verdict import Check, attested, failed, proven, unknown

FETCH_BYTES = 8 << 20
DTYPES: Mapping[str, WeightsDtype] = {
    "F16": WeightsDtype.FP16,
    "BF16": WeightsDtype.BF16,
    "F32": WeightsDtype.FP32,
}
"""What a recipe calls what a file calls otherwise."""

OURS = "stockpot "
"""Begins what our own trainer writes of itself; a custom image says another name."""

WITHOUT = "its successor was made without it"
MEAN = "the successor is the exact mean of its ingredients, bit by bit"
STORED = "the successor's weights in the store are those bytes"
SIGNED = "the successor's manifest is the one that was signed"
ALONE = "each ingredient was trained from its own shard alone"


class CannotAverageError(Exception):
    """The mean cannot be computed here; the message says what is lacking."""


Average = Callable[[Sequence[RecipePart], WeightsDtype, Digest], Digest]
"""The digest of the mean of parts; of none, of the base with that digest.

Raises Refused where an ingredient is not what was named, CannotAverageError where one is lacking.
"""


@dataclass(frozen=True)
class VerifiedRecipe:
    """What a successor was made of, found and checked against its digest."""

    parts: tuple[RecipePart, ...]
    output: WeightsDtype
    base: Digest


class CompositionChecker:
    """Checks successors of one soup; each recipe is averaged once."""

    def __init__(self, store: ObjectStore, keys: Keys, soup_uid: str, average: Average) -> None:
        self._store = store
        self._keys = keys
        self._soup_uid = soup_uid
        self._average = average
        self._known: dict[tuple[RevisionRef, str | None], tuple[Check, ...]] = {}

    def check(
        self, about: str, predicate: UnlearningPredicate, gone: Mapping[str, int]
    ) -> Iterator[Check]:
        """Check the successor that a receipt names.

        Args:
            about: The receipt.
            said: What it says.
            gone: Shards that were forgotten later: UID, and the number of the receipt; 0 while
                there is none yet.
        """
        successor = predicate.successor
        if successor is None:
            yield attested(about, "nothing serves any more", "the receipt names no successor")
            return
        shards = _names(successor.lineage)
        if predicate.shard.uid in shards:
            yield failed(about, WITHOUT, "the receipt itself names it in the successor's lineage")
            return
        later = [number for uid in shards & gone.keys() if (number := gone[uid])]
        if later:
            why = f"superseded: an ingredient of it was removed by receipt {min(later)}"
            yield unknown(about, MEAN, why).model_copy(update={"superseded": True})
            return
        if shards & gone.keys():
            yield unknown(about, MEAN, "an ingredient of it is being forgotten")
            return
        known = (successor, predicate.successor_manifest)
        if known not in self._known:
            self._known[known] = tuple(self._checks(predicate, successor))
        for check in self._known[known]:
            yield check.model_copy(update={"about": about})

    def _checks(self, predicate: UnlearningPredicate, successor: RevisionRef) -> Iterator[Check]:
        folder = self._keys.revision(self._soup_uid, successor.recipe_digest)
        try:
            manifest = read_manifest(self._store, folder)
            why = _contradiction(manifest, predicate, successor)
            verified = None if why else self._recipe(manifest, successor)
        except Refused as error:
            yield failed("", WITHOUT, error.message)
            return
        if why:
            yield failed("", WITHOUT, f"{folder}{MANIFEST} says that {why}")
            return
        if verified is None:
            why = (
                f"which parts its recipe {successor.recipe_digest} has, and their weights, is "
                f"not to be found: {folder} and the ingredients do not say it"
            )
            yield unknown("", WITHOUT, why)
            yield unknown("", MEAN, why)
            return
        parts = len(verified.parts)
        made = f"of {parts} ingredients" if parts else "of the base alone"
        yield proven("", WITHOUT, f"its recipe is {made}, and has the digest that was signed")
        yield self._mean(verified, successor)
        yield from self._stored(folder, successor)
        yield from self._signed_manifest(folder, predicate)
        if parts:
            yield self._alone(verified.parts)

    def _recipe(self, manifest: Manifest | None, successor: RevisionRef) -> VerifiedRecipe | None:
        """Find the parts that have the digest that was signed, or None."""
        parts = manifest.parts if manifest and manifest.parts else self._equal_parts(successor)
        if parts is None:
            return None
        tensors = manifest.tensors if manifest else None
        outputs = [DTYPES[tensors.dtype]] if tensors else list(WeightsDtype)
        for output in outputs:
            if _digest(parts, output) == successor.recipe_digest:
                base = self._base_of(manifest, parts)
                return VerifiedRecipe(parts, output, base) if base else None
        return None

    def _equal_parts(self, successor: RevisionRef) -> tuple[RecipePart, ...] | None:
        """The survivors' ingredients as the store has them, all with the same weight."""
        parts = []
        for pair in sorted(successor.lineage, key=lambda pair: (pair.shard, pair.training_key)):
            folder = self._keys.ingredient(pair.shard, pair.training_key)
            manifest = read_manifest(self._store, folder) if pair.training_key else None
            if manifest is None or manifest.digest is None:
                return None
            parts.append(
                RecipePart(
                    shard_uid=pair.shard,
                    training_key=pair.training_key,
                    weights_digest=manifest.digest,
                    weight=1,
                )
            )
        return tuple(parts)

    def _base_of(self, manifest: Manifest | None, parts: Sequence[RecipePart]) -> Digest | None:
        if manifest is None and parts:
            folder = self._keys.ingredient(parts[0].shard_uid, parts[0].training_key)
            manifest = read_manifest(self._store, folder)
        return Digest(manifest.base_digest) if manifest and manifest.base_digest else None

    def _mean(self, verified: VerifiedRecipe, successor: RevisionRef) -> Check:
        for part in verified.parts:
            key = self._keys.ingredient(part.shard_uid, part.training_key) + WEIGHTS
            if self._store.head(key) is None:
                return unknown("", MEAN, f"{key} is not there any more")
        try:
            digest = self._average(verified.parts, verified.output, verified.base)
        except CannotAverageError as error:
            return unknown("", MEAN, str(error))
        except Refused as error:
            return failed("", MEAN, error.message)
        if digest != successor.weights_digest:
            why = f"their mean is {digest}, and the receipt says {successor.weights_digest}"
            return failed("", MEAN, why)
        return proven("", MEAN, f"averaged again here: {digest}")

    def _alone(self, parts: Sequence[RecipePart]) -> Check:
        for part in parts:
            folder = self._keys.ingredient(part.shard_uid, part.training_key)
            try:
                manifest = read_manifest(self._store, folder)
            except Refused as error:
                return failed("", ALONE, error.message)
            made_by = manifest.made_by if manifest else ""
            if not made_by.startswith(OURS):
                why = f"{folder} was made by {made_by or 'nobody knows whom'}, not by Stockpot"
                return unknown("", ALONE, why)
        return attested("", ALONE, "their manifests say so; training one again would prove it")

    def _stored(self, folder: str, successor: RevisionRef) -> Iterator[Check]:
        key = folder + WEIGHTS
        if self._store.head(key) is None:
            return
        source = object_bytes(self._store, key)
        sha256 = hashlib.sha256()
        for block in blocks(source, 0, source.size_bytes, FETCH_BYTES):
            sha256.update(block)
        digest = PREFIX + sha256.hexdigest()
        if digest == successor.weights_digest:
            yield proven("", STORED)
        else:
            yield failed("", STORED, f"{key} is {digest}, not {successor.weights_digest}")

    def _signed_manifest(self, folder: str, predicate: UnlearningPredicate) -> Iterator[Check]:
        data = self._store.get(folder + MANIFEST)
        if predicate.successor_manifest is None or data is None:
            return
        if digest_of_bytes(data) == predicate.successor_manifest:
            yield proven("", SIGNED)
        else:
            why = "it was written again since, as a merge does that finds its file gone"
            yield unknown("", SIGNED, why)


def _contradiction(
    manifest: Manifest | None, predicate: UnlearningPredicate, successor: RevisionRef
) -> str:
    """Why a revision's manifest cannot be of the successor that was signed, or nothing."""
    if manifest is None:
        return ""
    shards = {pair.shard for pair in manifest.lineage}
    shards |= {part.shard_uid for part in manifest.parts}
    if predicate.shard.uid in _names(manifest.lineage) | shards:
        return f"it was made with shard {predicate.shard.uid}"
    if shards != {pair.shard for pair in successor.lineage}:
        return f"it was made from {', '.join(sorted(shards)) or 'nothing'}: not what was signed"
    if manifest.digest is None:  # It is being merged again.
        return ""
    if manifest.digest != successor.weights_digest:
        return f"its weights are {manifest.digest}, and {successor.weights_digest} was signed"
    if manifest.parts and manifest.tensors:
        digest = _digest(manifest.parts, DTYPES[manifest.tensors.dtype])
        if digest != successor.recipe_digest:
            return f"its parts are the recipe {digest}, and {successor.recipe_digest} was signed"
    return ""


def _names(lineage: Iterable[LineagePair]) -> set[str]:
    """What receipts can call what a lineage has: shards, and single trainings of shards."""
    pairs = [(recipe.ShardUID(pair.shard), Digest(pair.training_key)) for pair in lineage]
    return {shard for shard, _ in pairs} | {
        recipe.former_of(recipe.Ingredient(shard, key)) for shard, key in pairs
    }


def _digest(parts: Sequence[RecipePart], output: WeightsDtype) -> Digest:
    in_order = sorted(
        recipe.WeightedIngredient(
            recipe.Ingredient(recipe.ShardUID(part.shard_uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in parts
    )
    return recipe.Recipe(tuple(in_order), output.value).digest
