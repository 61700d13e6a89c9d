"""The mean by its definition, in rationals, with nothing in common with how we compute it.

A 16-bit format is the table of all its values; rounding is to look for the two next to the mean
and to take the nearer one, or the one whose bits are even. For F32 the two are found by stepping.
"""

import bisect
import functools
import struct
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from stockpot.merging.formats import Format

INFINITE_BITS = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000}
SIGN_BIT = {"F16": 0x8000, "BF16": 0x8000, "F32": 0x80000000}


def value_of(bits: int, form: Format) -> Fraction:
    """Return the value of a finite bit pattern."""
    if form.name == "F16":
        return Fraction(struct.unpack("<e", struct.pack("<H", bits))[0])
    if form.name == "BF16":
        bits <<= 16
    return Fraction(struct.unpack("<f", struct.pack("<I", bits))[0])


@functools.cache
def magnitudes(name: str) -> list[Fraction]:
    """Return all finite magnitudes of a 16-bit format, indexed by bit pattern."""
    form = {"F16": F16_LIKE, "BF16": BF16_LIKE}[name]
    return [value_of(bits, form) for bits in range(INFINITE_BITS[name])]


def bits_of_mean(inputs: Sequence[int], weights: Sequence[int], given: Format, out: Format) -> int:
    """Return the bits of the weighted mean of elements, given as bits; ties go to even."""
    total = sum((value_of(x, given) * w for x, w in zip(inputs, weights, strict=True)), Fraction(0))
    if total == 0:
        all_negative = all(bits == SIGN_BIT[given.name] for bits in inputs)
        return SIGN_BIT[out.name] if all_negative else 0
    sign = SIGN_BIT[out.name] if total < 0 else 0
    return sign | bits_of_magnitude(abs(total) / sum(weights), out)


def bits_of_magnitude(value: Fraction, out: Format) -> int:
    """Round a positive rational."""
    infinite = INFINITE_BITS[out.name]
    below = lower_neighbour(value, out)
    at = value_of(below, out)
    # The number after the largest one, had the format one more exponent.
    step = at - value_of(below - 1, out) if below + 1 == infinite else None
    above = at + step if step is not None else value_of(below + 1, out)
    if value - at < above - value:
        return below
    if value - at > above - value:
        return below + 1
    return below if below % 2 == 0 else below + 1


def lower_neighbour(value: Fraction, out: Format) -> int:
    """Return the bits of the largest finite number that is not above the value."""
    largest = INFINITE_BITS[out.name] - 1
    if value >= value_of(largest, out):
        return largest
    if out.name != "F32":
        return bisect.bisect_right(magnitudes(out.name), value) - 1
    low, high = 0, largest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if value_of(middle, out) <= value else (low, middle)
    return low


def is_finite(bits: int, form: Format) -> bool:
    """Whether a bit pattern is a finite number."""
    return bits & ~SIGN_BIT[form.name] < INFINITE_BITS[form.name]


F16_LIKE = Format("F16", np.dtype("<f2"), 11, -14)
BF16_LIKE = Format("BF16", np.dtype("<u2"), 8, -126)
