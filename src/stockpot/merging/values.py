"""Decodes elements of every safetensors type to numbers, to compare and show them.

Narrow floating-point types are those of the OCP specification for 8-bit and microscaling formats;
the ones that end in FNUZ have one zero, one NaN and no infinity.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockpot.store.safetensors import ELEMENT_BITS

Numbers = NDArray[Any]

_PLAIN: Mapping[str, str] = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
"""Types that numpy supports."""
_NARROW: Mapping[str, tuple[int, int]] = {
    "F4": (2, 1), "F6_E2M3": (2, 3), "F6_E3M2": (3, 2), "F8_E8M0": (8, 0),
    "F8_E4M3": (4, 3), "F8_E5M2": (5, 2), "F8_E4M3FNUZ": (4, 3), "F8_E5M2FNUZ": (5, 2),
}  # fmt: skip
"""Bits of the exponent and of the fraction."""


def numbers_of(data: bytes | NDArray[np.uint8], dtype: str) -> Numbers:
    """Decode whole elements exactly.

    Args:
        data: The bytes of the elements in a file.
        dtype: The type's name in safetensors.

    Returns:
        Shape (elements,): whole numbers, floats or complex numbers, in numpy's own type if it has
        one, else in float32 (BF16) or float64.
    """
    raw = np.frombuffer(data, np.uint8)
    if dtype in _PLAIN:
        return raw.view(_PLAIN[dtype])
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return _table(dtype)[_codes(raw, ELEMENT_BITS[dtype])]


def distances(first: Numbers, second: Numbers) -> NDArray[np.float64]:
    """Return the absolute difference of each pair; it is zero if both are equal or both NaN."""
    if first.dtype.kind in "iu":
        # The difference of two 64-bit numbers needs 64 bits without a sign.
        wide = np.int64 if first.dtype.kind == "i" else np.uint64
        a, b = first.astype(wide), second.astype(wide)
        apart = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
        return apart.astype(np.float64)
    wide_float = np.complex128 if first.dtype.kind == "c" else np.float64
    x, y = first.astype(wide_float), second.astype(wide_float)
    with np.errstate(invalid="ignore", over="ignore"):
        apart_float: NDArray[np.float64] = np.abs(x - y)
    apart_float[(x == y) | (np.isnan(x) & np.isnan(y))] = 0.0
    return apart_float


def _codes(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return raw
    each = np.unpackbits(raw, bitorder="little").reshape(-1, bits)
    codes: NDArray[np.uint8] = (each << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    return codes


@cache
def _table(dtype: str) -> NDArray[np.float64]:
    """Return the value of each bit pattern of a narrow type."""
    bits, (exponent_bits, fraction_bits) = ELEMENT_BITS[dtype], _NARROW[dtype]
    if dtype == "F8_E8M0":
        return np.array([2.0 ** (code - 127) for code in range(255)] + [np.nan])
    bias = (1 << (exponent_bits - 1)) - 1 + dtype.endswith("FNUZ")
    magnitudes = []
    for code in range(1 << (bits - 1)):
        exponent, fraction = divmod(code, 1 << fraction_bits)
        significand = fraction / (1 << fraction_bits) + (exponent > 0)
        magnitudes.append(significand * 2.0 ** (max(exponent, 1) - bias))
    table = np.array([*magnitudes, *(-value for value in magnitudes)])
    half = len(magnitudes)
    if dtype == "F8_E4M3":
        table[[half - 1, -1]] = np.nan
    elif dtype == "F8_E5M2":
        table[[half - 4, half + half - 4]] = np.inf, -np.inf
        table[[half - 3, half - 2, half - 1, -3, -2, -1]] = np.nan
    elif dtype.endswith("FNUZ"):
        table[half] = np.nan
    return table
