"""`diff`, the function behind `stockpot diff`: compares two checkpoints tensor by tensor."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.checkpoints import (
    OpenCheckpoint,
    help_for_own_files,
    open_checkpoint,
    require_local_or_s3,
)
from stockpot.merging.copies import read_bytes
from stockpot.merging.formats import FORMATS
from stockpot.merging.values import Numbers, distances, numbers_of
from stockpot.merging.weights import PathOrUrl
from stockpot.store.ranges import ByteSource
from stockpot.store.safetensors import ELEMENT_BITS, Tensor, tensor_bytes

BLOCK_BYTES = 1 << 18
FAR_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class TensorDifference:
    """How a tensor differs. If both checkpoints have it with one shape, elements are compared."""

    key: str
    first: tuple[str, tuple[int, ...]] | None
    """Type and shape; None if the first checkpoint lacks the tensor."""
    second: tuple[str, tuple[int, ...]] | None
    elements: int = 0
    differing: int = 0
    """How many elements have different values; two NaNs count as equal."""
    largest: float = 0.0
    """The largest absolute difference; NaN if an element is a NaN in one checkpoint only."""
    relative: float = 0.0
    """The root mean square of the differences, divided by that of the first's elements."""

    @property
    def is_equal(self) -> bool:
        """Whether type, shape and every value are the same."""
        return self.first == self.second and not self.differing


def diff(
    first: PathOrUrl,
    second: PathOrUrl,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[TensorDifference, ...]:
    """Compare two checkpoints by ranges: neither is held in memory.

    Args:
        first: A checkpoint as for `merge`, with tensors of any type.
        second: The checkpoint to compare it with.
        progress: Called with the number of bytes that are done, and of all bytes.

    Returns:
        Every tensor of either checkpoint in order of key, including the equal ones.

    Raises:
        Refused: One of them is no checkpoint (exit 46).
        Transient: One of them cannot be read (7).
    """
    for where in (first, second):
        require_local_or_s3(str(where))
    with help_for_own_files(), ExitStack() as stack:
        opened = [open_checkpoint(where, stack) for where in (first, second)]
        return tuple(_differences(opened[0], opened[1], progress))


def _differences(
    a_checkpoint: OpenCheckpoint, b_checkpoint: OpenCheckpoint, progress: Callable[[int, int], None]
) -> Iterator[TensorDifference]:
    ours, theirs = (
        {tensor[0]: place for tensor, place in zip(opened.tensors, opened.places, strict=True)}
        for opened in (a_checkpoint, b_checkpoint)
    )
    first, second = (
        {key: (dtype, shape) for key, dtype, shape in opened.tensors}
        for opened in (a_checkpoint, b_checkpoint)
    )
    total = sum(_size_bytes((key, *first[key])) for key in ours.keys() & theirs.keys())
    done = 0
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = first.get(key), second.get(key)
        if a is None or b is None or a[1] != b[1] or not _can_compare(a[0], b[0]):
            yield TensorDifference(key, a, b)
        else:
            yield _compare_elements((key, *a), (key, *b), ours[key], theirs[key])
        done += _size_bytes((key, *a)) if a and b else 0
        progress(done, total)


def _can_compare(first: str, second: str) -> bool:
    return first == second or (first in FORMATS and second in FORMATS)


def _size_bytes(tensor: Tensor) -> int:
    return tensor_bytes(tensor[1], tensor[2])


def _compare_elements(
    first: Tensor, second: Tensor, at: tuple[ByteSource, int], other_at: tuple[ByteSource, int]
) -> TensorDifference:
    key, dtype, shape = first
    elements = prod(shape)
    near = at[0].is_near and other_at[0].is_near
    # Whole bytes, even of types whose elements share bytes.
    most = (BLOCK_BYTES if near else FAR_BLOCK_BYTES) // ELEMENT_BITS[dtype] * 8
    differing, largest, of_difference, of_first = 0, 0.0, 0.0, 0.0
    for begin in range(0, elements, most):
        count = min(most, elements - begin)
        a, b = _read(at, dtype, begin, count), _read(other_at, second[1], begin, count)
        x = numbers_of(a, dtype)
        of_first += _sum_of_squares(x)
        if dtype == second[1] and np.array_equal(a, b):
            continue
        y = numbers_of(b, second[1])
        apart = distances(x, y)
        differing += int(((x != y) & ~(_is_nan(x) & _is_nan(y))).sum())
        largest = float(np.maximum(largest, apart.max(initial=0.0)))
        of_difference += _sum_of_squares(apart)
    relative = math.sqrt(of_difference / of_first) if of_first and of_difference else 0.0
    return TensorDifference(
        key, (dtype, shape), (second[1], second[2]), elements, differing, largest, relative
    )


def _sum_of_squares(numbers: Numbers) -> float:
    magnitudes = np.abs(numbers) if numbers.dtype.kind == "c" else numbers
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.square(magnitudes, dtype=np.float64).sum())


def _is_nan(numbers: Numbers) -> NDArray[np.bool_]:
    if numbers.dtype.kind in "iu":
        return np.zeros(numbers.shape, np.bool_)
    is_nan: NDArray[np.bool_] = np.isnan(numbers)
    return is_nan


def _read(place: tuple[ByteSource, int], dtype: str, begin: int, count: int) -> NDArray[np.uint8]:
    """Read the bytes of `count` elements; the first must begin at a byte."""
    bits = ELEMENT_BITS[dtype]
    return read_bytes(place, begin * bits // 8, count * bits // 8)
