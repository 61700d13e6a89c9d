"""Checks that the served weights are the mean of the remaining ingredients, bit by bit.

A receipt signs the successor's recipe digest. The digest covers every part, so the parts need no
trusted source: they come from the revision's manifest, or from those of the ingredients. The caller
provides the function that averages.
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
"""The data types of weights files, as recipes call them."""

OURS = "stockpot "
"""How `madeBy` begins in manifests of Stockpot's own trainer; a custom image has another name."""

WITHOUT = "its successor was made without it"
MEAN = "the successor is the exact mean of its ingredients, bit by bit"
STORED = "the successor's weights in the store are those bytes"
SIGNED = "the successor's manifest is the one that was signed"
ALONE = "each ingredient was trained from its own shard alone"


class CannotAverageError(Exception):
    """The mean cannot be computed here; the message says what is missing."""


Average = Callable[[Sequence[RecipePart], WeightsDtype, Digest], Digest]
"""Computes the digest of the parts' mean; without parts, of the base with the given digest.

Raises Refused where an ingredient does not match its digest, CannotAverageError where one is gone.
"""


@dataclass(frozen=True)
class VerifiedRecipe:
    """A successor's recipe, found in the store and checked against the signed digest."""

    parts: tuple[RecipePart, ...]
    output: WeightsDtype
    base: Digest


class CompositionChecker:
    """Checks the successors of one soup; averages each recipe once."""

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
            about: The receipt's name in the report.
            predicate: The receipt's predicate.
            gone: Shards that were forgotten later: the number of the receipt by UID; 0 while there
                is no receipt yet.
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
                f"the parts of its recipe {successor.recipe_digest}, and their weights, cannot be "
                f"found: neither {folder} nor the ingredients have them"
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
        """Find the parts with the signed recipe digest; None where they cannot be found."""
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
        """Return the remaining ingredients as the store has them, all with the same weight."""
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
                return unknown("", MEAN, f"{key} is not in the store any more")
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
                why = f"{folder} was made by {made_by or 'an unknown program'}, not by Stockpot"
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
            why = "it was written again since: a merge does that if its file is missing"
            yield unknown("", SIGNED, why)


def _contradiction(
    manifest: Manifest | None, predicate: UnlearningPredicate, successor: RevisionRef
) -> str:
    """Return why a revision's manifest contradicts the signed successor, or an empty string."""
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
    """Return the names that receipts use for a lineage: of shards, and of single trainings."""
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
