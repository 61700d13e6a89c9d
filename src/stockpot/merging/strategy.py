"""Decides whether a recipe is merged from scratch or from the sums of another recipe.

Costs are bytes moved, which take most of a merge's time. From scratch, every ingredient is read.
From sums, the sums are read and written again, and the ingredients that changed are read. The soup
is written in both cases.
"""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from stockpot.api.manifest import RecipePart
from stockpot.merging.accumulator_blocks import NARROW, WIDE
from stockpot.merging.formats import F16, F32, Format
from stockpot.merging.step import Step

MOST_AT_ONCE = 256
"""How many ingredients are read side by side if sums are kept: their blocks take memory."""
LIGHT_TOTAL = 128
"""Sums of F16 are assumed to fit 4 bytes up to this sum of the weights. They do if the mean of each
block's largest elements is below 1; a wrong guess only costs time."""
HEAVY_TOTAL = 1 << 20
"""From this sum of the weights on, float64 holds too few sums of F32: of fine-tuned models one in
a thousand is an exception, more than an accumulator of a large model may have."""


class IngredientKey(NamedTuple):
    """What identifies an ingredient in a recipe, without its weight."""

    shard_uid: str
    training_key: str
    weights_digest: str


def ingredient_key(part: RecipePart) -> IngredientKey:
    """Return the key of a part's ingredient."""
    return IngredientKey(part.shard_uid, part.training_key, part.weights_digest)


def step_between(
    old: Mapping[IngredientKey, int], new: Mapping[IngredientKey, int]
) -> tuple[Step, tuple[IngredientKey, ...]]:
    """Find the step from the sums of one recipe to another's that reads the fewest ingredients.

    Weights of a recipe have no common factor, so a single change may scale all other weights. The
    ingredients whose weights changed by the commonest ratio count as unchanged.

    Args:
        old: The old weight of each ingredient; empty for sums of zero.
        new: The new weight of each ingredient; at least one.

    Returns:
        The step, and the ingredients that it reads, sorted by key.
    """
    ratios = Counter(Fraction(old[key], new[key]) for key in old.keys() & new.keys())
    # The commonest; of several the one with the smallest numbers, so that sums stay small.
    ratio = min(
        ratios or [Fraction(1)],
        key=lambda ratio: (-ratios[ratio], ratio.numerator + ratio.denominator, ratio),
    )
    divisor, times = ratio.numerator, ratio.denominator
    changed = {key: divisor * new.get(key, 0) - times * old.get(key, 0) for key in {*old, *new}}
    read = tuple(sorted(key for key, weight in changed.items() if weight))
    step = Step(
        times,
        divisor,
        tuple(changed[key] for key in read),
        tuple(int(key in new) - int(key in old) for key in read),
        sum(old.values()),
        sum(new.values()),
        len(new),
    )
    return step, read


def is_cheaper(sums_bytes: int, changed: int, members: int, ingredient_bytes: int) -> bool:
    """Whether to start from the sums of another recipe.

    Args:
        sums_bytes: The size of these sums.
        changed: How many ingredients must be read beside the sums.
        members: The number of ingredients of the new recipe.
        ingredient_bytes: The size of one ingredient.
    """
    return 2 * sums_bytes + changed * ingredient_bytes < members * ingredient_bytes


def is_worth_keeping(members: int, total: int, given: Format) -> bool:
    """Whether the sums of this recipe would make a later change of one ingredient cheaper."""
    if given is F32 and total >= HEAVY_TOTAL:
        return False
    width = NARROW if given is F16 and total <= LIGHT_TOTAL else WIDE
    return is_cheaper(width.itemsize, 1, members, given.item_bytes)
