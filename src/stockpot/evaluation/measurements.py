"""Measured values with their uncertainty. Pure arithmetic, no torch.

A measurement is a mean over items (records, pictures) and keeps the value of each. Two revisions
that were evaluated on the same items are compared item by item: most of the variance between items
is in both, and cancels in the difference.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockpot.errors import ExitCode, Refused

_NORMAL_95 = 1.959964
"""Half the width of a normal 95 % interval, in standard errors."""


@dataclass(frozen=True)
class Measurement:
    """The mean of a value over items, with its standard error."""

    items: Mapping[str, float]
    """The value of each record or picture, by its name; at least one."""

    @property
    def value(self) -> float:
        """The mean of all items."""
        return statistics.fmean(self.items.values())

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean; None for a single item."""
        if len(self.items) < 2:
            return None
        return statistics.stdev(self.items.values()) / math.sqrt(len(self.items))

    @property
    def interval95(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the mean; good for 30 items or more."""
        error = self.standard_error
        if error is None:
            return None
        return self.value - _NORMAL_95 * error, self.value + _NORMAL_95 * error

    def to_json(self) -> dict[str, Any]:
        """Build the entry of `evaluation.json`."""
        return {
            "value": self.value,
            "standardError": self.standard_error,
            "interval95": self.interval95,
            "items": dict(self.items),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Measurement":
        """Read an entry of `evaluation.json`: the items, from which all else follows."""
        return cls({str(name): float(value) for name, value in entry["items"].items()})


def paired_difference(figure: Measurement, other: Measurement) -> Measurement:
    """Compute how much higher `figure` is than `other`, over the items that both have.

    Raises:
        ValueError: They have no item in common.
    """
    common = [name for name in figure.items if name in other.items]
    if not common:
        raise ValueError("The figures have no item in common: they cannot be compared in pairs.")
    return Measurement({name: figure.items[name] - other.items[name] for name in common})


def require_numbers(name: str, figure: Measurement) -> None:
    """Refuse a measurement with an item that is not finite.

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
