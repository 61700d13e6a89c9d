"""Measured values with their uncertainty. Pure arithmetic, no torch.

A figure is a mean over items (records, pictures), and keeps what it was of each. Two revisions that
were asked about the same items are compared item by item: most of what varies between items is in
both, and goes out of the difference.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockpot.errors import ExitCode, Refused

_NORMAL_95 = 1.959964
"""How many standard errors a 95 % interval reaches to either side of a mean of many."""


@dataclass(frozen=True)
class Figure:
    """One measured value: the mean of its items."""

    items: Mapping[str, float]
    """At least one; what was measured of each record or picture, by its name."""

    @property
    def value(self) -> float:
        """The mean of all items."""
        return statistics.fmean(self.items.values())

    @property
    def standard_error(self) -> float | None:
        """Of the mean, from how the items spread; none of a single item."""
        if len(self.items) < 2:
            return None
        return statistics.stdev(self.items.values()) / math.sqrt(len(self.items))

    @property
    def interval95(self) -> tuple[float, float] | None:
        """Where the mean over all such items is expected, 19 times in 20; for 30 items or more."""
        error = self.standard_error
        if error is None:
            return None
        return self.value - _NORMAL_95 * error, self.value + _NORMAL_95 * error

    def to_json(self) -> dict[str, Any]:
        """As it stands in `evaluation.json`."""
        return {
            "value": self.value,
            "standardError": self.standard_error,
            "interval95": self.interval95,
            "items": dict(self.items),
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Figure":
        """Read it back; all but the items follows from them."""
        return cls({str(name): float(value) for name, value in said["items"].items()})


def paired_difference(figure: Figure, other: Figure) -> Figure:
    """How much higher `one` is than `other`, item by item, over the items that both have.

    Raises:
        ValueError: They have no item in common.
    """
    common = [name for name in figure.items if name in other.items]
    if not common:
        raise ValueError("The figures have no item in common: they cannot be compared in pairs.")
    return Figure({name: figure.items[name] - other.items[name] for name in common})


def require_numbers(name: str, figure: Figure) -> None:
    """Refuse a figure that is not made of numbers.

    Raises:
        Refused: (BAD_WEIGHTS) An item is a NaN or an infinity; it is named.
    """
    for item, value in figure.items.items():
        if not math.isfinite(value):
            raise Refused(
                f"{name} of {item} is {value}, which is no number.",
                help="the revision's weights diverged: look at the last loss of its shards",
                exit_code=ExitCode.BAD_WEIGHTS,
            )
