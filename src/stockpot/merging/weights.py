"""Parses weights as users write them into whole numbers, exactly.

`0.1` is a tenth here, not the nearest float64.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from math import gcd, lcm
from os import PathLike, fspath

from stockpot.errors import ExitCode, Refused

PathOrUrl = str | PathLike[str]
Weight = int | str | Fraction

_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})(e[+-]?[0-9]{1,2})?", re.I)
_RATIO = re.compile(r"[+-]?[0-9]{1,18}/[0-9]{1,18}")
LARGEST, SMALLEST = Fraction(10) ** 18, Fraction(1, 10**18)


def parse_weighted_path(text: str) -> tuple[str, Fraction]:
    """Split `a.safetensors@0.3` into path and weight; the default weight is 1.

    The text behind the last `@` is taken as a weight if it looks like one. A file whose name ends
    that way must be given with a weight.

    Raises:
        Refused: The weight is invalid (exit 2).
    """
    where, at, weight = text.rpartition("@")
    if not at or ("/" in weight and not _RATIO.fullmatch(weight)):
        return text, Fraction(1)
    if not re.match(r"[+-]?[0-9.]", weight):
        return text, Fraction(1)
    return where, parse_weight(weight)


def parse_weight(weight: Weight) -> Fraction:
    """Parse a weight exactly.

    Args:
        weight: A whole number, a Fraction, or text: `3`, `0.3`, `1/3`, `5e-3`. Floats are refused:
            0.1 would be 0.1000000000000000055.

    Raises:
        Refused: It is none of these, negative, or not between 10^-18 and 10^18 (exit 2).
    """
    value: Fraction | None = None
    if isinstance(weight, str):
        if _DECIMAL.fullmatch(weight) or _RATIO.fullmatch(weight):
            with suppress(ZeroDivisionError):
                value = Fraction(weight)
    # Untyped callers may pass floats and booleans.
    elif type(weight) in (int, Fraction):
        value = Fraction(weight)
    if value is None:
        raise _refused(f"{weight!r} is not a weight", "write it as 2, 0.3, 5e-3 or 1/3")
    if value < 0:
        raise _refused(f"the weight {weight} is negative", "use weights of 0 and more")
    if value and not SMALLEST <= value <= LARGEST:
        raise _refused(f"the weight {weight} is out of range", "use weights from 1e-18 to 1e18")
    return value


def whole_weights(weights: Sequence[Fraction]) -> list[int]:
    """Scale weights to the smallest whole numbers in the same proportions.

    Raises:
        Refused: There is no weight, or their sum is zero (exit 2).
    """
    if not weights or not any(weights):
        raise _refused(
            "the weights add up to zero" if weights else "there is nothing to average",
            "name at least one checkpoint with a weight above 0",
        )
    common = lcm(*(weight.denominator for weight in weights))
    scaled = [int(weight * common) for weight in weights]
    shared = gcd(*scaled)
    return [weight // shared for weight in scaled]


def parse_inputs(
    inputs: Mapping[PathOrUrl, Weight] | Iterable[PathOrUrl | tuple[PathOrUrl, Weight]],
) -> list[tuple[str, Fraction]]:
    """List the checkpoints with their weights; a checkpoint without one has weight 1."""
    pairs = inputs.items() if isinstance(inputs, Mapping) else inputs
    inputs_with_weights = []
    for pair in pairs:
        where, weight = pair if isinstance(pair, tuple) else (pair, 1)
        inputs_with_weights.append((fspath(where), parse_weight(weight)))
    return inputs_with_weights


def _refused(message: str, help: str) -> Refused:  # noqa: A002
    return Refused(message, help=help, exit_code=ExitCode.USAGE)
