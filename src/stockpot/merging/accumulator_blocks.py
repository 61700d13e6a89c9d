"""Brings one block of kept sums up to date and averages it, as exactly as `mean` does.

The accumulator of a recipe holds S = sum(w_i x_i) of each element. When the recipe becomes another,
    S' = (times S + sum(d_j x_j)) / divisor
over the ingredients j whose weight changes: d_j is `divisor` times the new weight (0 if it leaves)
less `times` the old one (0 if it joins). `times` and `divisor` are 1 unless weights are scaled: (1,
1, 1) becomes (2, 2, 1) by times = 2 and d = -1.

How a sum is kept. As the number itself, in float64; or, if the inputs are F16 and every sum of the
block is less than 2^7, as an int32 in units of 2^-24, of which every F16 is a whole number. A sum
that neither holds exactly is an exception: it is kept in Python's integers, in units of 2^-149, of
which every input is a whole number. An element where an ingredient has a -0 is an exception too,
kept with the number of such ingredients: a sum of zero is -0 if all ingredients have a -0 and else
+0, which the sum alone does not show. How an element is kept depends on its inputs and weights, and
not on the history of the recipe.

Why it is exact. S is exact to begin with. `times` S and the products d_j x_j are exact in float64
where 53 bits hold them; those of the products are counted before (`Step.fits`), and each addition
is a two-sum (Knuth) whose error must be zero, as must be that of `times` S. F16 inputs with
    times T + sum(|d_j|) <= 8192
need none of these checks: every partial sum is at most 8192 * 2^40 = 2^53 units of 2^-24. Division
by `divisor` is exact because its result is sum(w'_j x_j), whose significant bits are no more than
those of its `divisor`-fold. If any operation was not exact, the element is decided in integers.

The mean is the quotient S' / T' in float64, rounded to the output: the proof in `kernel` holds, for
S' is exact and has 53 bits at most.
"""

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.blocks import largest_of, require_finite
from stockpot.merging.formats import F16, Floats, Format, Stored
from stockpot.merging.kernel import NUMBERS, Kernel, SumsUpdate, addresses
from stockpot.merging.mean import nearest
from stockpot.merging.step import Step
from stockpot.store.weights import FLOATS

NARROW, WIDE = np.dtype("<i4"), np.dtype("<f8")
NONE_NARROW = -(1 << 31)
"""Marks an exception among narrow sums; a NaN marks one among wide sums."""
UNIT_BITS = 24
EXACT_BITS = 149
EXACT_BYTES = 48
"""Enough for an exact sum: 149 + 128 bits of a number, 53 of the weights, a sign, and a margin."""


class Exact(NamedTuple):
    """The sum of an element that is an exception."""

    negative_zeros: int
    """How many ingredients have a -0 there."""
    units: int
    """The sum in units of 2^-149."""


@dataclass(frozen=True)
class UpdatedBlock:
    """A block of sums that was brought up to date."""

    sums: Stored
    """Shape (elements,), as NARROW or as WIDE."""
    exceptions: Mapping[int, Exact]
    """The exceptions by index in the block, in order."""
    largest: int
    """The largest magnitude of the means, as bits of the output format."""


class WrongSumsError(Exception):
    """The sums cannot be those of the recipe that their manifest names."""


class SumsOfBlocks:
    """Applies one step to block after block. For one thread at a time."""

    def __init__(
        self, step: Step, given: Format, output: Format, most_elements: int, kernel: Kernel | None
    ) -> None:
        self._step, self._given, self._output, self._kernel = step, given, output, kernel
        self._narrow = np.empty(most_elements, NARROW)
        self._wide = np.empty(most_elements, WIDE)
        self._doubts = np.empty(most_elements, np.uint32)
        self._weights = np.array(step.weights, np.float64)
        self._update = SumsUpdate(
            times=float(step.times),
            divisor=float(step.divisor),
            weights=self._weights.ctypes.data,
            count=len(step.weights),
            total=float(step.total),
            checked=int(not step.plain(given)),
            given=NUMBERS[given.name],
            output=NUMBERS[output.name],
            doubts=self._doubts.ctypes.data,
        )

    def update(
        self,
        old: Stored | None,
        exceptions: Mapping[int, Exact],
        blocks: Sequence[Stored],
        out: Stored,
    ) -> UpdatedBlock:
        """Bring one block up to date, and average it.

        Args:
            old: The old sums, shape (elements,), as NARROW or WIDE. None stands for zeros.
            exceptions: The exceptions among the old sums, by index in the block.
            blocks: One for each ingredient that is read; each of shape (elements,), contiguous.
            out: Receives the means, shape (elements,), contiguous.

        Returns:
            The new sums. Their array belongs to this object and is valid until the next call.

        Raises:
            NotFiniteError: An ingredient has a NaN or an infinity.
            WrongSumsError: The sums are not those of the recipe.
        """
        narrow = self._given is F16 and (old is None or old.dtype == NARROW)
        sums, doubts, largest, fits = self._run(old, blocks, out, narrow=narrow)
        decided = self._decided(doubts, old, exceptions, blocks)
        values = [_value_of(exact) for exact in decided]
        fits = fits and all(value is None or _is_narrow(value) for value in values)
        if narrow and not fits:
            sums, _, largest, _ = self._run(old, blocks, out, narrow=False)
        if doubts.size:
            means = np.array([self._mean_of(exact) for exact in decided], np.float64)
            out[doubts] = rounded = self._output.rounded(means)
            largest = max(largest, largest_of(rounded, self._output))
            sums[doubts] = _as_kept(values, sums.dtype)
        if sums.dtype == WIDE and self._given is F16:
            sums = self._narrowed(sums)
        kept = {
            int(at): exact
            for at, exact, value in zip(doubts, decided, values, strict=True)
            if value is None
        }
        return UpdatedBlock(sums, kept, largest)

    def _run(
        self, old: Stored | None, blocks: Sequence[Stored], out: Stored, *, narrow: bool
    ) -> tuple[Stored, NDArray[np.uint32], int, bool]:
        """Compute sums and means of all elements at once, in floating point.

        Returns:
            The sums; the indices of the undecided elements; the largest of the other means, as
            bits; and whether the format holds the sums of the others.
        """
        sums = (self._narrow if narrow else self._wide)[: out.size]
        if self._kernel is None:
            return self._run_plain(old, blocks, out, sums)
        update = self._update
        inputs = addresses(blocks)
        update.inputs = ctypes.addressof(inputs)
        update.old, update.old_width = 0, 0
        if old is not None:
            update.old, update.old_width = old.ctypes.data, old.itemsize
        update.elements, update.out = out.size, out.ctypes.data
        update.sums, update.width = sums.ctypes.data, sums.itemsize
        count = self._kernel.update(update)
        return sums, self._doubts[:count].copy(), update.largest, not update.overflow

    def _run_plain(
        self, old: Stored | None, blocks: Sequence[Stored], out: Stored, sums: Stored
    ) -> tuple[Stored, NDArray[np.uint32], int, bool]:
        step, form = self._step, FLOATS[self._given.name]
        values = as_values(old) if old is not None else np.zeros(out.size, np.float64)
        doubts = np.isnan(values)
        with np.errstate(invalid="ignore", over="ignore"):
            if step.times != 1:
                values, lost = _times(values, step.times)
                doubts |= lost
            for block, weight in zip(blocks, step.weights, strict=True):
                # A sum does not show that an ingredient has a -0.
                doubts |= block.view(form.bits) == form.magnitude + 1
                values, lost = _two_sum(values, self._given.exact(block) * weight)
                doubts |= lost
            values = values / step.divisor
            doubts |= ~np.isfinite(values)
            values[doubts] = 0.0
            means = self._output.rounded(values / step.total)
        out[:] = means
        fits = True
        if sums.dtype == NARROW:
            fits = bool(_is_narrow(np.abs(values).max(initial=0.0)))
            sums[:] = np.ldexp(values, UNIT_BITS) if fits else 0
        else:
            sums[:] = values
        undecided = np.flatnonzero(doubts).astype(np.uint32)
        return sums, undecided, largest_of(means, self._output), fits

    def _decided(
        self,
        doubts: NDArray[np.uint32],
        old: Stored | None,
        exceptions: Mapping[int, Exact],
        blocks: Sequence[Stored],
    ) -> list[Exact]:
        """Compute the sums of undecided elements in integers."""
        if not doubts.size:
            return []
        step, form = self._step, FLOATS[self._given.name]
        gathered = [block[doubts] for block in blocks]
        require_finite(gathered, self._given, doubts)
        zeros = [elements.view(form.bits) == form.magnitude + 1 for elements in gathered]
        numbers = [self._given.exact(elements).tolist() for elements in gathered]
        before = as_values(old[doubts]).tolist() if old is not None else [0.0] * doubts.size
        decided = []
        for number, at in enumerate(doubts.tolist()):
            known = exceptions.get(at)
            if known is None:
                if math.isnan(before[number]):
                    raise WrongSumsError
                known = Exact(0, _units(before[number]))
            units = known.units * step.times
            negative_zeros = known.negative_zeros
            for part, weight in enumerate(step.weights):
                units += weight * _units(numbers[part][number])
                negative_zeros += step.joins[part] * int(zeros[part][number])
            units, rest = divmod(units, step.divisor)
            if rest or not 0 <= negative_zeros <= step.members:
                raise WrongSumsError
            decided.append(Exact(negative_zeros, units))
        return decided

    def _mean_of(self, exact: Exact) -> float:
        if not exact.units:
            return -0.0 if exact.negative_zeros == self._step.members else 0.0
        return nearest(Fraction(exact.units, self._step.total << EXACT_BITS), self._output)

    def _narrowed(self, sums: Stored) -> Stored:
        """Convert wide sums to narrow ones, if all of them fit."""
        none = np.isnan(sums)
        values = np.where(none, 0.0, sums)
        if not _is_narrow(np.abs(values).max(initial=0.0)):
            return sums
        narrow = self._narrow[: sums.size]
        narrow[:] = np.where(none, NONE_NARROW, np.ldexp(values, UNIT_BITS))
        return narrow


def as_values(sums: Stored) -> Floats:
    """Convert kept sums to float64, with a NaN for each exception."""
    if sums.dtype == WIDE:
        return sums.astype(np.float64)
    values = np.ldexp(sums.astype(np.float64), -UNIT_BITS)
    values[sums == NONE_NARROW] = np.nan
    return values


def _as_kept(values: Sequence[float | None], dtype: "np.dtype[np.generic]") -> Stored:
    if dtype == WIDE:
        return np.array([math.nan if value is None else value for value in values], WIDE)
    kept = [NONE_NARROW if value is None else int(math.ldexp(value, UNIT_BITS)) for value in values]
    return np.array(kept, NARROW)


def _is_narrow(value: float) -> bool:
    return abs(value) < 2.0 ** (31 - UNIT_BITS)


def _units(value: float) -> int:
    return int(math.ldexp(value, EXACT_BITS))


def _value_of(exact: Exact) -> float | None:
    """Return the sum as a float64; None if it is an exception."""
    if exact.negative_zeros:
        return None
    value = float(exact.units)
    return math.ldexp(value, -EXACT_BITS) if int(value) == exact.units else None


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Add; the second array marks the elements where the sum is not exact."""
    total = a + b
    of_b = total - a
    error = (a - (total - of_b)) + (b - of_b)
    return total, error != 0


def _times(values: Floats, times: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Multiply by at most 26 bits; the second array marks the elements that are not exact."""
    # Veltkamp: halves of at most 27 bits, whose products with 26 bits are exact.
    split = values * (2.0**27 + 1)
    high = split - (split - values)
    return _two_sum(high * times, (values - high) * times)
