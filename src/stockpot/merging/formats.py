"""Floating-point formats of weights: bytes to float64, and float64 to bytes in one rounding.

float64 holds every value of F16, BF16 and F32, and every midpoint between two neighbours of one
of them, exactly. Rounding is to nearest, ties to even; a number that is too large becomes infinite,
and one that rounds to zero keeps its sign, as in IEEE 754.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockpot.api.training import WeightsDtype

Floats = NDArray[np.float64]
Stored = NDArray[Any]
"""Elements as they lie in a file: float16, float32, or the bits of a BF16 as uint16."""


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        name: The type's name in safetensors.
        storage: The numpy type of an element in a file, little-endian.
        precision: Significant bits, including the hidden one.
        min_exponent: The smallest normal number is `2 ** min_exponent`.
    """

    name: str
    storage: np.dtype[Any]
    precision: int
    min_exponent: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return int(self.storage.itemsize)

    def exact(self, stored: Stored) -> Floats:
        """Widen elements to float64; nothing is lost."""
        if self.name == "BF16":
            # A BF16 is the upper half of an F32.
            wide: NDArray[np.uint32] = stored.astype(np.uint32) << np.uint32(16)
            return wide.view(np.float32).astype(np.float64)
        return stored.astype(np.float64)

    def rounded(self, values: Floats) -> Stored:
        """Round once, to nearest, ties to even; too large becomes infinite."""
        if self.name == "BF16":
            return _rounded_to_bf16(values)
        with np.errstate(over="ignore", under="ignore"):
            # numpy casts float64 to either in one rounding.
            return values.astype(self.storage)


F16 = Format("F16", np.dtype("<f2"), precision=11, min_exponent=-14)
BF16 = Format("BF16", np.dtype("<u2"), precision=8, min_exponent=-126)
F32 = Format("F32", np.dtype("<f4"), precision=24, min_exponent=-126)

COPIED = Format("bytes", np.dtype("u1"), precision=8, min_exponent=0)
"""Stands for the bytes of tensors that are copied instead of averaged."""

FORMATS: Mapping[str, Format] = MappingProxyType({form.name: form for form in (F16, BF16, F32)})
OUTPUTS: Mapping[WeightsDtype, Format] = MappingProxyType(
    {WeightsDtype.FP16: F16, WeightsDtype.BF16: BF16, WeightsDtype.FP32: F32}
)


def _rounded_to_bf16(values: Floats) -> Stored:
    """Round float64 to the bits of BF16.

    By integers, because by way of float32 it would be two roundings: 1 + 2^-8 + 2^-40 would
    become 1 + 2^-8 first, a tie, and then 1.
    """
    bits = values.view(np.uint64)
    sign = (bits >> np.uint64(48)).astype(np.uint16) & np.uint16(0x8000)
    magnitude = np.abs(values)

    # Normal numbers: cut 45 of 52 fraction bits, a carry runs into the exponent by itself.
    kept = magnitude.view(np.uint64)
    half_less_one = np.uint64((1 << 44) - 1)
    odd = (kept >> np.uint64(45)) & np.uint64(1)
    cut = (kept + half_less_one + odd) >> np.uint64(45)
    rebias = np.uint64((1023 - 127) << 7)
    infinity = np.uint64(0x7F80)
    normal = np.minimum(np.maximum(cut, rebias) - rebias, infinity)

    # Subnormal ones are multiples of 2^-133, and the multiplier is the bit pattern. Where the
    # magnitude is larger the result is not used; the bound only keeps it finite.
    small = np.rint(np.minimum(magnitude, 2.0**-126) * 2.0**133).astype(np.uint64)

    chosen = np.where(magnitude < 2.0**-126, small, normal).astype(np.uint16)
    return np.asarray(chosen | sign)
