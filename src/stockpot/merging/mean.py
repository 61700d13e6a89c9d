"""The exact weighted mean of a block of elements, rounded once: the arithmetic, in numpy.

Each element of the soup is the rational number `sum(w_i x_i) / sum(w_i)`, rounded once to the
output format, to nearest, ties to even. Every step below is either exact or decided exactly
afterwards, so the bytes depend on the inputs alone, not on their order or the machine.

Sums. `T` is the sum of the weights.
    F16 inputs with T <= 8192: every input is a multiple of 2^-24 below 2^16, so every partial sum
    is an integer of at most 8192 * 2^40 = 2^53 in units of 2^-24, and float64 holds those exactly.
    Otherwise: a weight is cut into limbs of 28 bits, so that limb * x has at most 28 + 24 = 52
    significant bits and is exact. Products are added with a two-sum (Knuth), whose error term is
    exact; the errors are added with a second two-sum, and an element for which that one is not
    exact either is averaged in rationals. So `high + low` is the sum, exactly, and |low| is at
    most half an ulp of `high`.

Quotients. q is the float64 quotient of `high` and T. Every midpoint m between two neighbours of
the output format is a float64, and rounding to float64 is monotone. So q is never on the wrong
side of m, and rounding it is right unless q = m while the true quotient is not.
    `low` zero and T < 2^28: that cannot be. T * m has at most 28 + 25 = 53 significant bits (25:
    one more than F32 has), so it is a float64 as the sum S is. Two that differ do so by at least
    2^-53 T m, for no gap beside y is less than 2^-53 y; so S/T is at least 2^-53 m from m. Let 2^e
    be the power of two at or below m: half an ulp of m is 2^(e-53). If m > 2^e, S/T is further
    from m than that, and q is not m. If m = 2^e, S/T may be as near as that only from below, where
    the ulp is half as large, and q is not m either.
    Otherwise: q errs by less than 4 ulp (2^-53 q for rounding T, for leaving `low` out and for
    the division, and their products; an ulp is at least 2^-53 q). Where a midpoint is within 4 ulp
    of q, the element is averaged in rationals.

Zeros. A sum of exactly zero is +0, but -0 where every input is -0: so the soup of one ingredient
is that ingredient, byte for byte. What is not zero but rounds to it keeps its sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import copysign

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.formats import F16, Floats, Format, Stored

Flags = NDArray[np.bool_]

LIMB_BITS = 28
PLAIN_TOTAL = 8192
DOUBTFUL_ULPS = 4


@dataclass(frozen=True)
class _Sum:
    """The sums of a block: exactly `high + low`, except where `unsure`."""

    high: Floats
    low: Floats
    unsure: Flags


def mean(blocks: Sequence[Stored], weights: Sequence[int], given: Format, output: Format) -> Stored:
    """Average one block of elements.

    Args:
        blocks: One for each ingredient, at least one; each of shape (elements,), as stored in
            `given`, finite.
        weights: One for each block, each >= 1, of any size.
        given: The format of the blocks.
        output: The format to round to.

    Returns:
        Shape (elements,), as stored in `output`; infinite where the mean is too large for it.
    """
    total = sum(weights)
    plain = given is F16 and total <= PLAIN_TOTAL
    sums = _plain_sum(blocks, weights) if plain else _careful_sum(blocks, weights, given)
    quotients = sums.high / float(total)
    unsure = sums.unsure
    if total >> LIMB_BITS:
        unsure |= _near_a_midpoint(quotients, output)
    elif sums.low.any():
        unsure |= (sums.low != 0) & _near_a_midpoint(quotients, output)
    for index in np.flatnonzero(unsure):
        inputs = [float(given.exact(block[index : index + 1])[0]) for block in blocks]
        quotients[index] = _exact_mean(inputs, weights, output)
    return output.rounded(quotients)


def _plain_sum(blocks: Sequence[Stored], weights: Sequence[int]) -> _Sum:
    """Add F16 blocks whose weights are small enough for float64 to be exact."""
    # Starting from the first product, not from zero, keeps -0 where every input is -0.
    sums = F16.exact(blocks[0])
    sums *= weights[0]
    for block, weight in zip(blocks[1:], weights[1:], strict=True):
        wide = F16.exact(block)
        wide *= weight
        sums += wide
    return _Sum(sums, np.zeros_like(sums), np.zeros(sums.shape, np.bool_))


def _careful_sum(blocks: Sequence[Stored], weights: Sequence[int], given: Format) -> _Sum:
    """Add blocks of any format with weights of any size, and mark what may not be exact."""
    high: Floats | None = None
    low = np.zeros(blocks[0].shape, np.float64)
    unsure = np.zeros(blocks[0].shape, np.bool_)
    for block, weight in zip(blocks, weights, strict=True):
        wide = given.exact(block)
        for limb in _limbs(weight):
            product = wide * limb
            if high is None:
                high = product
                continue
            high, error = _two_sum(high, product)
            if not error.any():
                continue
            low, lost = _two_sum(low, error)
            unsure |= lost != 0
    assert high is not None
    if low.any():
        tidy, rest = _two_sum(high, low)
        # Where `low` is zero, -0 + 0 must not become +0.
        high, low = np.where(low != 0, tidy, high), rest
    return _Sum(high, low, unsure)


def _limbs(weight: int) -> list[float]:
    """Cut a weight into numbers of at most 28 significant bits that add up to it."""
    mask = (1 << LIMB_BITS) - 1
    shifts = range(0, weight.bit_length(), LIMB_BITS)
    limbs = [((weight >> shift) & mask) << shift for shift in shifts]
    return [float(limb) for limb in limbs if limb]


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Add, and return what rounding lost: a + b == sum + error, exactly."""
    total = a + b
    of_b = total - a
    error = (a - (total - of_b)) + (b - of_b)
    return total, error


def _near_a_midpoint(quotients: Floats, output: Format) -> Flags:
    """Mark the quotients where a few units of float64's last place may decide the rounding."""
    _, exponents = np.frexp(quotients)  # value = fraction * 2^exponent, 1/2 <= fraction < 1
    quantum = np.ldexp(1.0, np.maximum(exponents - 1, output.min_exponent) - output.precision + 1)
    # All exact: a division by a power of two, and the fraction of a number below 2^24.
    steps = quotients / quantum
    from_midpoint = np.abs(np.abs(steps - np.rint(steps)) - 0.5) * quantum
    doubt: Flags = from_midpoint <= DOUBTFUL_ULPS * np.spacing(np.abs(quotients))
    return doubt


def _exact_mean(inputs: Sequence[float], weights: Sequence[int], output: Format) -> float:
    """Average one element in rationals.

    Returns:
        The mean, rounded to the output format, as a float64; beyond the format's largest number,
        the next that would follow it, which `Format.rounded` makes infinite.
    """
    total = sum(
        (Fraction(x) * w for x, w in zip(inputs, weights, strict=True)), start=Fraction(0)
    ) / sum(weights)
    if total == 0:
        return -0.0 if all(copysign(1, x) < 0 and x == 0 for x in inputs) else 0.0
    return nearest(total, output)


def nearest(value: Fraction, output: Format) -> float:
    """Round a rational other than zero to a format; one that rounds to zero keeps its sign.

    Returns:
        A float64; beyond the format's largest number, the next that would follow it.
    """
    exponent = _floor_log2(abs(value))
    quantum = Fraction(2) ** (max(exponent, output.min_exponent) - output.precision + 1)
    steps = round(value / quantum)  # Python rounds a Fraction to nearest, ties to even.
    return copysign(float(abs(steps) * quantum), value)


def _floor_log2(value: Fraction) -> int:
    """Return the exponent of a positive rational: the largest e with 2^e <= value."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if Fraction(2) ** guess <= value else guess - 1
