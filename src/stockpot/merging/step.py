"""The step from the sums of one recipe to those of another, in whole numbers."""

from dataclasses import dataclass

from stockpot.merging.formats import F16, Format
from stockpot.merging.mean import PLAIN_TOTAL

MOST_TIMES_BITS = 26


@dataclass(frozen=True)
class Step:
    """What turns the sums of one recipe into those of another: see `accumulator_blocks`."""

    times: int
    divisor: int
    weights: tuple[int, ...]
    """For each ingredient that is read: d_j, never 0."""
    joins: tuple[int, ...]
    """For each: 1 if it joins, -1 if it leaves, 0 if it stays with another weight."""
    old_total: int
    """The sum of the old recipe's weights; 0 if there is no old recipe."""
    total: int
    """The sum of the new recipe's weights."""
    members: int
    """How many ingredients the new recipe has."""

    def fits(self, given: Format, output: Format) -> bool:
        """Whether float64 meets the requirements of `accumulator_blocks` and `kernel`."""
        widest = max(abs(weight).bit_length() for weight in self.weights)
        return (
            self.total.bit_length() + output.precision + 1 <= 53
            and widest + given.precision <= 53
            and self.times.bit_length() <= MOST_TIMES_BITS
            and self.divisor.bit_length() <= MOST_TIMES_BITS
        )

    def plain(self, given: Format) -> bool:
        """Whether no sum can be inexact, so that none needs a check."""
        most = self.times * self.old_total + sum(abs(weight) for weight in self.weights)
        return given is F16 and most <= PLAIN_TOTAL
