"""Weights as people write them, and as the mean wants them: whole numbers, exactly as they stand.

`0.1` is a tenth here, not the float64 beside it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from math import gcd, lcm
from os import PathLike, fspath

from stockpot.errors import ExitCode, Refused

Where = str | PathLike[str]
Weight = int | str | Fraction

_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})(e[+-]?[0-9]{1,2})?", re.I)
_RATIO = re.compile(r"[+-]?[0-9]{1,18}/[0-9]{1,18}")
LARGEST, SMALLEST = Fraction(10) ** 18, Fraction(1, 10**18)


def named(text: str) -> tuple[str, Fraction]:
    """Take `a.safetensors@0.3` apart; without a weight it is 1.

    What stands behind the last `@` is a weight, if it can be one: a file whose name ends in such
    a thing is named with a weight.

    Raises:
        Refused: The weight is none (exit 2).
    """
    where, at, weight = text.rpartition("@")
    if not at or ("/" in weight and not _RATIO.fullmatch(weight)):
        return text, Fraction(1)
    if not re.match(r"[+-]?[0-9.]", weight):
        return text, Fraction(1)
    return where, rational(weight)


def rational(weight: Weight) -> Fraction:
    """Read a weight exactly.

    Args:
        weight: A whole number, a Fraction, or text: `3`, `0.3`, `1/3`, `5e-3`. No float: nobody
            means 0.1000000000000000055.

    Raises:
        Refused: It is none of these, negative, or not between 10^-18 and 10^18 (exit 2).
    """
    found: Fraction | None = None
    if isinstance(weight, str):
        if _DECIMAL.fullmatch(weight) or _RATIO.fullmatch(weight):
            with suppress(ZeroDivisionError):
                found = Fraction(weight)
    # Callers without types pass floats and booleans too.
    elif type(weight) in (int, Fraction):
        found = Fraction(weight)
    if found is None:
        raise _refused(f"{weight!r} is no weight", "write it as 2, 0.3, 5e-3 or 1/3")
    if found < 0:
        raise _refused(f"the weight {weight} is negative", "a mean has weights of 0 and more")
    if found and not SMALLEST <= found <= LARGEST:
        raise _refused(f"the weight {weight} is out of range", "weights are from 1e-18 to 1e18")
    return found


def whole(weights: Sequence[Fraction]) -> list[int]:
    """Scale weights to the smallest whole numbers of the same proportions.

    Raises:
        Refused: There is none, or their sum is zero (exit 2).
    """
    if not weights or not any(weights):
        raise _refused(
            "the weights add up to nothing" if weights else "there is nothing to average",
            "name at least one checkpoint with a weight above 0",
        )
    common = lcm(*(weight.denominator for weight in weights))
    scaled = [int(weight * common) for weight in weights]
    shared = gcd(*scaled)
    return [weight // shared for weight in scaled]


def listed(
    inputs: Mapping[Where, Weight] | Iterable[Where | tuple[Where, Weight]],
) -> list[tuple[str, Fraction]]:
    """Read what is to be averaged: checkpoints, each alone (weight 1) or with its weight."""
    pairs = inputs.items() if isinstance(inputs, Mapping) else inputs
    found = []
    for pair in pairs:
        where, weight = pair if isinstance(pair, tuple) else (pair, 1)
        found.append((fspath(where), rational(weight)))
    return found


def _refused(message: str, help: str) -> Refused:  # noqa: A002
    return Refused(message, help=help, exit_code=ExitCode.USAGE)
