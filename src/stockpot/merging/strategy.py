"""Which way a recipe is merged: from scratch, or from the sums of another. Pure decisions.

Costs are bytes that are moved, for that is what a merge takes its time for. From scratch every
ingredient is read. From sums they are read and written again, and the ingredients that changed are
read; what is written beside is the same.
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
"""How many ingredients are read side by side where sums are kept: their blocks take room."""
LIGHT_TOTAL = 128
"""Sums of F16 are taken to fit 4 bytes up to this sum of the weights: so they do where the mean of
each block's largest elements is below 1, and a wrong guess costs some time only."""
HEAVY_TOTAL = 1 << 20
"""From here on float64 holds too few sums of F32: of fine-tunes one in a thousand is an exception,
and more than there is room for in a large model."""


class Named(NamedTuple):
    """An ingredient, by what a recipe says of it."""

    shard_uid: str
    training_key: str
    weights_digest: str


def named(part: RecipePart) -> Named:
    """Name the ingredient of a part."""
    return Named(part.shard_uid, part.training_key, part.weights_digest)


def step_between(
    old: Mapping[Named, int], new: Mapping[Named, int]
) -> tuple[Step, tuple[Named, ...]]:
    """Find how the sums of one recipe become those of another, reading as few as can be.

    Weights of recipes have no common factor, so that one weight that changes may scale all
    others: they count as unchanged in the proportion that most of them have.

    Args:
        old: The weight of each ingredient; none: sums of zero.
        new: The same; at least one.

    Returns:
        The step, and the ingredients that it reads, in order of name.
    """
    ratios = Counter(Fraction(old[one], new[one]) for one in old.keys() & new.keys())
    # The commonest; of these the one of the smallest numbers, so that sums stay small.
    ratio = min(
        ratios or [Fraction(1)],
        key=lambda one: (-ratios[one], one.numerator + one.denominator, one),
    )
    divisor, times = ratio.numerator, ratio.denominator
    changed = {one: divisor * new.get(one, 0) - times * old.get(one, 0) for one in {*old, *new}}
    read = tuple(sorted(one for one, weight in changed.items() if weight))
    step = Step(
        times,
        divisor,
        tuple(changed[one] for one in read),
        tuple(int(one in new) - int(one in old) for one in read),
        sum(old.values()),
        sum(new.values()),
        len(new),
    )
    return step, read


def is_cheaper(sums_bytes: int, changed: int, members: int, ingredient_bytes: int) -> bool:
    """Whether to go by the sums of another recipe.

    Args:
        sums_bytes: Of these.
        changed: How many ingredients are read for it.
        members: Of the new recipe.
        ingredient_bytes: Of one.
    """
    return 2 * sums_bytes + changed * ingredient_bytes < members * ingredient_bytes


def is_worth_keeping(members: int, total: int, given: Format) -> bool:
    """Whether a change of one ingredient would be cheaper with the sums of this recipe."""
    if given is F32 and total >= HEAVY_TOTAL:
        return False
    width = NARROW if given is F16 and total <= LIGHT_TOTAL else WIDE
    return is_cheaper(width.itemsize, 1, members, given.item_bytes)
