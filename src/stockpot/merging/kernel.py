"""The compiled mean: loaded with ctypes, called without the GIL, with its proof of exactness.

`kernel.c` averages in float32 where that is exact, else in float64 where that is, and lists the
elements where neither is: `mean` decides those. So the bytes are those of `mean` alone, which also
does all the work if no compiler was available or the processor lacks the instructions.

Sums. Let the inputs x_i of one element have p significant bits (11 for F16, 8 for BF16, 24 for
F32), and let `top` and `bottom` be the biased exponents of the largest of them and of the smallest
that is not zero, where a subnormal number counts as of exponent 1. With u = 2^(bottom - bias - p +
1) every x_i is a whole multiple of u, and |x_i| < 2^(top - bias + 1) = u 2^(top - bottom + p). So
with the sum of the weights T <= 2^t every product w_i x_i and every partial sum of them, in any
order, is a whole multiple of u of at most u 2^(top - bottom + p + t). A format of P bits holds all
of these while
    top - bottom + p + t <= P,        P = 24 for float32, 53 for float64,
as long as u and the sum lie in its range: always so in float64, and for F16 in float32. For BF16 in
float32 `bottom >= 40` and `top <= 220` are asked for too: then u >= 2^-94, and sums are below
2^110. The test is made for each element from the bits that are being added: two integer minima and
maxima beside each addition. No bound for a whole tensor would do: the smallest number of a tensor
says nothing about the element beside it. Where float32 is tried for F16 a zero counts as of
exponent 1 too, which only asks for more than needed; what fails goes to float64, 32 elements
together, and there zeros are left out. Both are exact wherever they are used, so which one is used
changes no bit. Products are exact as well, so a fused multiply-add rounds as two operations do.

Quotients. S is exact; q is S / T, rounded to P bits. Let m be a midpoint between two neighbours of
the output format; it has p' + 1 bits, where p' is the output's precision. While
    bits(T) + p' + 1 <= P
T m is a number of P bits, as S is, and by the argument of `mean` (with 2^-P for its 2^-53) q is m
only where S / T is. Rounding is monotone, so q lies on the right side of every midpoint, and to
round it again is to round once. In float32 q is never subnormal: |S| >= u >= 2^-94, or 2^-24. F32
from float32 is the division itself. Where T is a power of two float32 holds 1 / T, and to multiply
by that is to round the same number. From float64 to 16 bits the way leads through float32 by
cutting, with the last bit set where something was cut off (rounding to odd): float32 has at least
two bits more than the output, so nothing is lost that could decide. For a BF16 below 2^-126
float32 has fewer bits, and the element is left to `mean`.

Zeros. Sums begin at -0: -0 + x is x, and only where every input is -0 the sum is.
"""

import ctypes
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.formats import F32, Format

SOURCE = Path(__file__).with_name("kernel.c")
LIBRARY = Path(__file__).with_name("_kernel.so")
Addresses = ctypes.Array[ctypes.c_void_p]
NUMBERS = {"F16": 0, "BF16": 1, "F32": 2}
"""The numbers of the formats in `kernel.c`."""
LANES, FACTOR = 1024, 0x9E3779B1
"""A fold yields `LANES` numbers, each a polynomial in `FACTOR`."""


class SumsUpdate(ctypes.Structure):
    """A block of kept sums and what is added to it: `Account` in `kernel.c`."""

    _fields_ = (
        ("old", ctypes.c_void_p),
        ("old_width", ctypes.c_int64),
        ("times", ctypes.c_double),
        ("divisor", ctypes.c_double),
        ("inputs", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("total", ctypes.c_double),
        ("checked", ctypes.c_int64),
        ("elements", ctypes.c_int64),
        ("given", ctypes.c_int64),
        ("output", ctypes.c_int64),
        ("sums", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("doubts", ctypes.c_void_p),
        ("largest", ctypes.c_int64),
        ("overflow", ctypes.c_int64),
    )


class FilesToRead(ctypes.Structure):
    """Where blocks lie, and buffers for pieces of them: `Files` in `kernel.c`."""

    _fields_ = (
        ("files", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("pieces", ctypes.c_void_p),
        ("piece", ctypes.c_int64),
    )


def source_digest(source: Path = SOURCE) -> int:
    """Return 63 bits of the source's SHA-256; a library holds those of its own source."""
    return int.from_bytes(hashlib.sha256(source.read_bytes()).digest()[:8], "big") >> 1


def addresses(blocks: Sequence[NDArray[Any]]) -> Addresses:
    """Return the addresses of arrays as a C array."""
    return (ctypes.c_void_p * len(blocks))(*(block.ctypes.data for block in blocks))


class Kernel:
    """A compiled library. Safe to call from many threads."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._mean = library.stockpot_mean
        self._mean.restype = number
        self._mean.argtypes = [
            pointer, pointer, number, ctypes.c_double, ctypes.c_int, ctypes.c_int, number,
            ctypes.c_int, ctypes.c_int, ctypes.c_int, pointer, pointer, pointer,
        ]  # fmt: skip
        self._read_mean = library.stockpot_read_mean
        self._read_mean.restype = number
        self._read_mean.argtypes = [
            pointer, number, pointer, number, ctypes.c_double, ctypes.c_int, ctypes.c_int, number,
            ctypes.c_int, ctypes.c_int, ctypes.c_int, pointer, pointer, pointer, pointer,
        ]  # fmt: skip
        self._update = library.stockpot_account
        self._update.restype = number
        self._update.argtypes = [pointer]
        self._fold = library.stockpot_fold
        self._fold.restype = None
        self._fold.argtypes = [pointer, number, pointer]

    def prepared(
        self, weights: Sequence[int], given: Format, output: Format, most_elements: int
    ) -> "PreparedMean | None":
        """Prepare to average blocks of one recipe; None if the weights are too heavy.

        Args:
            weights: One for each block, each >= 1.
            given: The format of the blocks.
            output: The format to round to.
            most_elements: The number of elements of the largest block, less than 2^31.
        """
        spans = spans_of(sum(weights), given, output)
        if spans is None:
            return None
        return PreparedMean(self, tuple(weights), given, output, spans, most_elements)

    def update(self, update: SumsUpdate) -> int:
        """Bring a block of kept sums up to date, and average it: see `accumulator_blocks`.

        Returns:
            How many elements `doubts` lists: neither sum nor mean of these is decided.
        """
        return int(self._update(ctypes.addressof(update)))

    def fold(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Fold words into `LANES` numbers that change if any single word changes."""
        lanes = np.empty(LANES, np.uint32)
        self._fold(words.ctypes.data, words.size, lanes.ctypes.data)
        return lanes


@dataclass(frozen=True)
class Spans:
    """How many binades one element's inputs may span; a negative span excludes the format."""

    in_float32: int
    in_float64: int


def spans_of(total: int, given: Format, output: Format) -> Spans | None:
    """Return where the two formats are exact, by the proof above; None if nowhere."""
    t, bits = (total - 1).bit_length(), total.bit_length()
    if bits + output.precision + 1 > 53:
        return None
    of_double = 53 - given.precision - t
    # A float32 quotient may be the F32 itself; a total of 24 bits is a float32.
    divides = bits <= 24 if output is F32 else bits + output.precision + 1 <= 24
    of_float = 24 - given.precision - t if divides and given is not F32 else -1
    return Spans(max(of_float, -1), max(of_double, -1))


class PreparedMean:
    """Averages block after block of one recipe. For one thread at a time."""

    def __init__(
        self,
        kernel: Kernel,
        weights: tuple[int, ...],
        given: Format,
        output: Format,
        spans: Spans,
        most_elements: int,
    ) -> None:
        self._mean, self._read_mean = kernel._mean, kernel._read_mean
        self._weights = np.array(weights, np.float64)
        self._doubts = np.empty(most_elements, np.uint32)
        self._doubts_at = self._doubts.ctypes.data
        self._largest, self._known = ctypes.c_uint32(), ctypes.c_int64()
        self._recipe = (self._weights.ctypes.data, len(weights), float(sum(weights)))
        self._spans = (spans.in_float32, spans.in_float64)
        weighted = int(any(weight != 1 for weight in weights))
        self._formats = (NUMBERS[given.name], NUMBERS[output.name], weighted)

    def into(
        self, out_at: int, blocks_at: Addresses, elements: int
    ) -> tuple[NDArray[np.uint32], int]:
        """Average one block.

        Args:
            out_at: The address of the result, `elements` long.
            blocks_at: The addresses of the blocks, each `elements` long.
            elements: How many, at most `most_elements`.

        Returns:
            The indices of the undecided elements, and the largest magnitude of the others, as bits
            of the output format.
        """
        doubts = self._mean(
            blocks_at,
            *self._recipe,
            *self._spans,
            elements,
            *self._formats,
            out_at,
            self._doubts_at,
            ctypes.byref(self._largest),
        )
        return self._doubts[:doubts], self._largest.value

    def read_into(
        self, out_at: int, files: FilesToRead, first: int, elements: int
    ) -> tuple[int, NDArray[np.uint32], int]:
        """Read and average one block, piece by piece: `most_elements` are those of a piece.

        Args:
            out_at: The address of the result, `elements` long.
            files: Where the blocks lie.
            first: The first element, counted from where the run begins.
            elements: How many.

        Returns:
            How many elements are averaged; the indices of the undecided ones, all in the last
            piece; and the largest magnitude of the others, as bits of the output format. If fewer
            than all are averaged and none is undecided, the next piece could not be read.
        """
        averaged = self._read_mean(
            ctypes.addressof(files),
            first,
            *self._recipe,
            *self._spans,
            elements,
            *self._formats,
            out_at,
            self._doubts_at,
            ctypes.byref(self._known),
            ctypes.byref(self._largest),
        )
        return averaged, self._doubts[: self._known.value], self._largest.value


def load(path: Path) -> Kernel | None:
    """Load a compiled library; None if it has another source or this processor cannot run it."""
    try:
        library = ctypes.CDLL(str(path))
        source = library.stockpot_source
        source.restype = ctypes.c_int64
        if source() != source_digest() or not library.stockpot_usable():
            return None
        return Kernel(library)
    except (OSError, AttributeError):
        return None


@functools.cache
def installed() -> Kernel | None:
    """Load the library that was built beside this file; None if there is none."""
    return load(LIBRARY) if LIBRARY.is_file() else None
