"""Recipes and lineage: which ingredients with which weights make a soup, and their digest."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple, NewType

from stockpot.core.digests import PREFIX, Digest, digest_of_json

ShardUID = NewType("ShardUID", str)


class Ingredient(NamedTuple):
    """One training of one shard: the unit that lineage is made of."""

    shard: ShardUID
    key: Digest
    """Training key; empty where it is not known yet: then any training of the shard is meant."""


Lineage = frozenset[Ingredient]


@lru_cache(maxsize=4096)
def shards_in(lineage: Lineage) -> frozenset[ShardUID]:
    """Return the shards that a lineage names. Cached: a large soup asks the same for each shard."""
    return frozenset(ingredient.shard for ingredient in lineage)


@lru_cache(maxsize=256)
def _same(lineage: Lineage) -> Lineage:
    """Return one object for all equal lineages, so that comparing them again is cheap."""
    return lineage


def former_of(ingredient: Ingredient) -> ShardUID:
    """Return the UID of one training of a shard that lives on: records left it.

    The shard's UID, a dot, and 16 hex digits of the training key; its tombstone has this name.
    """
    return ShardUID(f"{ingredient.shard}.{ingredient.key.removeprefix(PREFIX)[:16]}")


def shard_of(name: ShardUID) -> ShardUID:
    """Return the shard of such a UID; the UID of a shard stays as it is."""
    return ShardUID(name.partition(".")[0])


def is_meant(shard: str, training_key: str, unlearned: str) -> bool:
    """Whether an unlearned UID, of a shard or of one training, covers this pair of a lineage."""
    return unlearned in {shard, former_of(Ingredient(ShardUID(shard), Digest(training_key)))}


def tag_of(shard: ShardUID) -> str:
    """Shorten a UID for the names of runs."""
    uid, _, key = shard.partition(".")
    return f"{uid[:8]}-r{key[:8]}" if key else uid[:8]


class WeightedIngredient(NamedTuple):
    """An ingredient in a recipe."""

    ingredient: Ingredient
    weights: Digest
    """Digest of the ingredient's file."""
    weight: int


@dataclass(frozen=True)
class Recipe:
    """Which ingredients with which weights make a soup. An empty one is the base itself.

    Weights are integers without a common factor, so that (1, 1) and (2, 2) are one recipe.
    """

    parts: tuple[WeightedIngredient, ...] = ()
    """In order of ingredient."""
    output: str = "fp16"

    @cached_property
    def lineage(self) -> Lineage:
        """The ingredients that the soup is merged from."""
        return _same(frozenset(part.ingredient for part in self.parts))

    @property
    def is_base(self) -> bool:
        """Whether the recipe has no ingredient: it is the base."""
        return not self.parts

    @cached_property
    def digest(self) -> Digest:
        """The name of the recipe, of its merge, of its place in the store.

        It covers shard UIDs and training keys: equal bytes from another lineage are another
        recipe, lie elsewhere and are purged apart.
        """
        parts = [[*part.ingredient, part.weights, part.weight] for part in self.parts]
        return digest_of_json("recipe/1", {"parts": parts, "output": self.output})


MAX_WEIGHT = 2**53 - 1
"""The largest whole number of canonical JSON, which a recipe's digest covers."""


def recipe_of(weighted: Iterable[tuple[Ingredient, Digest, Fraction]], output: str) -> Recipe:
    """Build the canonical recipe; ingredients with the weight 0 are left out."""
    some = sorted(entry for entry in weighted if entry[2] > 0)
    if not some:
        return Recipe((), output)
    whole = whole_weights([weight for _, _, weight in some])
    parts = (
        WeightedIngredient(ingredient, weights, weight)
        for (ingredient, weights, _), weight in zip(some, whole, strict=True)
    )
    return _known(Recipe(tuple(parts), output))


@lru_cache(maxsize=512)
def _known(recipe: Recipe) -> Recipe:
    """Return one object for all equal recipes: each round makes it anew, and digests are costly."""
    return recipe


def whole_weights(weights: Sequence[Fraction]) -> list[int]:
    """Scale weights to the smallest whole numbers of the same proportions; all 0 stay 0."""
    scale = math.lcm(*(weight.denominator for weight in weights))
    scaled = [int(weight * scale) for weight in weights]
    common = math.gcd(*scaled)
    return [weight // common for weight in scaled] if common else scaled
