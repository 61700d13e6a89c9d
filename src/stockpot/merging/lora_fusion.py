"""Folds a LoRA into its base: a checkpoint of fp32 that is computed while it is read.

The folded tensor is, by definition, of each element the fp32 rounding of
    base + scale * (up[i, 0] * down[0, j] + up[i, 1] * down[1, j] + ...)
where every operation is one of float64, in this order, from a sum of zero, k ascending, with no
fused multiply-add; and the scale is the float64 quotient of alpha and rank. `folded` is that
definition in numpy, `lora.c` its compiled form: every processor computes the same bytes. (Factors
are fp16, bf16 or fp32, so each product is exact; the sums, the scaling and the last addition
round.) A tensor that no module changes is the base's, widened to fp32.

The mean of folded checkpoints is as exact as any other. No intermediate file is written: a block is
folded when the mean reads it, so that the factors of only a few tensors of each LoRA are in memory.
"""

import ctypes
import math
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.checkpoints import OpenCheckpoint
from stockpot.merging.formats import FORMATS, Floats
from stockpot.merging.kernel import source_digest
from stockpot.merging.lora import Module
from stockpot.store.ranges import ByteSource, fill
from stockpot.store.safetensors import ELEMENT_BYTES, Tensor

SOURCE = Path(__file__).with_name("lora.c")
LIBRARY = Path(__file__).with_name("_lora.so")
ITEM_BYTES = 4
FACTORS_KEPT = 4
"""How many tensors' factors of one LoRA stay in memory: blocks are read nearly in order."""

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """The factors of one tensor, in memory."""

    up: Floats
    """Shape (rows, rank)."""
    down: Singles
    """Shape (rank, columns)."""
    scale: float


Fold = Callable[[Singles, Factors, int], None]
"""Folds elements of a tensor in place. Args: the base's elements, the factors, the first index."""


def folded(base: Singles, factors: Factors) -> Singles:
    """Fold whole rows by the definition.

    Args:
        base: Shape (rows, columns).
        factors: The factors of these rows.

    Returns:
        Shape (rows, columns); infinite where the sum is too large for float32.
    """
    sums = np.zeros(base.shape, np.float64)
    down = factors.down.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(down.shape[0]):
            sums += factors.up[:, k : k + 1] * down[k]
        return (base.astype(np.float64) + sums * factors.scale).astype(np.float32)


def fold_plainly(values: Singles, factors: Factors, first: int) -> None:
    """Fold a block in numpy, by applying the definition to the rows that it touches."""
    columns = factors.down.shape[1]
    begin, end = first // columns, -(-(first + values.size) // columns)
    rows = np.zeros((end - begin, columns), np.float32)
    at = slice(first - begin * columns, first - begin * columns + values.size)
    rows.reshape(-1)[at] = values
    whole = folded(rows, Factors(factors.up[begin:end], factors.down, factors.scale))
    values[:] = whole.reshape(-1)[at]


def load(path: Path) -> Fold | None:
    """Load a compiled library; None if there is none or it has another source."""
    try:
        library = ctypes.CDLL(str(path))
        source = library.stockpot_source
        source.restype = ctypes.c_int64
        if source() != source_digest(SOURCE):
            return None
        call = library.stockpot_fold_lora
    except (OSError, AttributeError):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    call.restype = None
    call.argtypes = [
        pointer, pointer, pointer, number, number, ctypes.c_double, number, number
    ]  # fmt: skip

    def fold(values: Singles, factors: Factors, first: int) -> None:
        call(
            values.ctypes.data,
            factors.up.ctypes.data,
            factors.down.ctypes.data,
            *factors.down.shape,
            factors.scale,
            first,
            values.size,
        )

    return fold


@cache
def installed() -> Fold:
    """Load the library that was built beside this file; without one, use numpy."""
    return (load(LIBRARY) if LIBRARY.is_file() else None) or fold_plainly


class WideWeights:
    """Reads the weights of a checkpoint as one sequence of fp32. Safe to use from many threads.

    Tensors of types that are copied are not part of the sequence.
    """

    def __init__(self, checkpoint: OpenCheckpoint) -> None:
        self.checkpoint = checkpoint
        elements = (
            math.prod(shape) if dtype in FORMATS else 0 for _, dtype, shape in checkpoint.tensors
        )
        self.ends = list(accumulate(elements))
        self._mine = threading.local()

    @property
    def elements(self) -> int:
        """The number of elements of all tensors together."""
        return self.ends[-1]

    def begin(self, number: int) -> int:
        """Return where a tensor begins in the sequence, in elements."""
        return self.ends[number - 1] if number else 0

    def pieces(self, first: int, count: int) -> list[tuple[int, int, int]]:
        """Cut a range of elements by tensors: tensor number, first element in it, count."""
        pieces = []
        number = bisect_right(self.ends, first)
        while count:
            here = min(count, self.ends[number] - first)
            if here:
                pieces.append((number, first - self.begin(number), here))
            first, count, number = first + here, count - here, number + 1
        return pieces

    def read(self, first: int, count: int) -> Singles:
        """Read elements. Callers must not write to them; they are valid until the next read.

        All LoRAs of a base read the same block one after the other: each thread caches the last.
        """
        if getattr(self._mine, "range", None) != (first, count):
            self._mine.range = None
            values = np.empty(count, np.float32)
            done = 0
            for number, element, here in self.pieces(first, count):
                values[done : done + here] = self._tensor(number, element, here)
                done += here
            self._mine.values, self._mine.range = values, (first, count)
        cached: Singles = self._mine.values
        return cached

    def _tensor(self, number: int, element: int, count: int) -> Singles:
        _, dtype, _ = self.checkpoint.tensors[number]
        source, offset = self.checkpoint.places[number]
        return elements_of(source, offset, dtype, element, count)


class FoldedBytes:
    """The data of a canonical fp32 file of a base with one LoRA folded in, computed on reading.

    Args:
        name: What messages call it.
        base: The base.
        modules: The modules of the LoRA, each with its scale.
        lora: The file of the LoRA.
        fold: Folds a block; does not change the bytes.
    """

    def __init__(
        self,
        name: str,
        base: WideWeights,
        modules: Sequence[Module],
        lora: OpenCheckpoint,
        fold: Fold,
    ) -> None:
        self.name, self.size_bytes = name, base.elements * ITEM_BYTES
        self.is_near = all(source.is_near for source in base.checkpoint.sources)
        self._base, self._fold = base, fold
        self._places = dict(zip((tensor[0] for tensor in lora.tensors), lora.places, strict=True))
        self._types = {key: (dtype, shape) for key, dtype, shape in lora.tensors}
        by_key = {module.key: module for module in modules}
        keys = [key for key, _, _ in base.checkpoint.tensors]
        self._modules = {number: by_key[key] for number, key in enumerate(keys) if key in by_key}
        self._kept: OrderedDict[int, Factors] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Read whole elements."""
        data = bytearray(max(0, min(length, self.size_bytes - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill a buffer with whole elements."""
        values = np.frombuffer(buffer, np.float32)
        first = offset // ITEM_BYTES
        values[:] = self._base.read(first, values.size)
        done = 0
        for number, element, count in self._base.pieces(first, values.size):
            if number in self._modules:
                self._fold(values[done : done + count], self._factors(number), element)
            done += count
        return len(buffer)

    def _factors(self, number: int) -> Factors:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            module = self._modules[number]
            up = self._factor(module.up).reshape(module.rows, module.rank).astype(np.float64)
            down = self._factor(module.down).reshape(module.rank, module.columns)
            self._kept[number] = factors = Factors(up, down, module.scale)
            if len(self._kept) > FACTORS_KEPT:
                self._kept.popitem(last=False)
            return factors

    def _factor(self, key: str) -> Singles:
        dtype, shape = self._types[key]
        return elements_of(*self._places[key], dtype, 0, math.prod(shape))


def folded_checkpoint(
    name: str,
    base: WideWeights,
    modules: Sequence[Module],
    lora: OpenCheckpoint,
    fold: Fold | None = None,
) -> OpenCheckpoint:
    """Present a base with a LoRA folded in as a checkpoint of fp32.

    Without modules it is the base, widened. Tensors that are copied are read from the base.
    """
    source = FoldedBytes(name, base, modules, lora, fold or installed())
    tensors: list[Tensor] = []
    places: list[tuple[ByteSource, int]] = []
    for number, (key, dtype, shape) in enumerate(base.checkpoint.tensors):
        is_folded = dtype in FORMATS
        tensors.append((key, "F32" if is_folded else dtype, shape))
        place: tuple[ByteSource, int] = (source, base.begin(number) * ITEM_BYTES)
        places.append(place if is_folded else base.checkpoint.places[number])
    return OpenCheckpoint(name, tuple(tensors), tuple(places), lora.files)


def elements_of(source: ByteSource, offset: int, dtype: str, first: int, count: int) -> Singles:
    """Read elements of a tensor as fp32, which holds every type that is averaged exactly."""
    size_bytes = ELEMENT_BYTES[dtype]
    data: NDArray[Any] = np.empty(count * size_bytes, np.uint8)
    fill(source, offset + first * size_bytes, data.data)
    stored = data.view(FORMATS[dtype].storage)
    if dtype == "BF16":
        wide: NDArray[np.uint32] = stored.astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32)
    return stored.astype(np.float32)
