"""What differs between two checkpoints, tensor by tensor: what `stockpot diff` shows."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.checkpoints import Checkpoint, open_checkpoint, require_local_or_s3
from stockpot.merging.formats import FORMATS
from stockpot.merging.weights import Where
from stockpot.store.ranges import ByteSource, fill
from stockpot.store.safetensors import ELEMENT_BYTES, Tensor

BLOCK_BYTES = 1 << 18
FAR_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class TensorDifference:
    """How one tensor differs. Where it is in both with one shape, the numbers are compared."""

    key: str
    first: tuple[str, tuple[int, ...]] | None
    """Type and shape; None where the first checkpoint has it not."""
    second: tuple[str, tuple[int, ...]] | None
    elements: int = 0
    differing: int = 0
    """How many elements are of another value, or of another type of NaN."""
    largest: float = 0.0
    """The largest absolute difference; not a number where one is with a NaN."""
    relative: float = 0.0
    """The root of the mean square of the differences, over that of the first's elements."""

    @property
    def is_equal(self) -> bool:
        """Whether type, shape and every value are the same."""
        return self.first == self.second and not self.differing


def diff(
    first: Where, second: Where, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[TensorDifference, ...]:
    """Compare two checkpoints, by ranges: neither is held in memory.

    Args:
        first: A checkpoint as for `merge`, with tensors of any type.
        second: The other.
        progress: Told how many bytes are done, and of how many.

    Returns:
        Every tensor of either, in order of key, the equal ones too.

    Raises:
        Refused: One is no checkpoint (exit 46).
        Transient: One cannot be read (7).
    """
    for where in (first, second):
        require_local_or_s3(str(where))
    with ExitStack() as stack:
        one = open_checkpoint(first, stack, any_type=True)
        two = open_checkpoint(second, stack, any_type=True)
        return tuple(_compared(one, two, progress))


def _compared(
    one: Checkpoint, two: Checkpoint, progress: Callable[[int, int], None]
) -> Iterator[TensorDifference]:
    ours = {tensor[0]: place for tensor, place in zip(one.tensors, one.places, strict=True)}
    theirs = {tensor[0]: place for tensor, place in zip(two.tensors, two.places, strict=True)}
    first = {key: (dtype, shape) for key, dtype, shape in one.tensors}
    second = {key: (dtype, shape) for key, dtype, shape in two.tensors}
    total = sum(_size_bytes((key, *first[key])) for key in ours.keys() & theirs.keys())
    done = 0
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = first.get(key), second.get(key)
        if a is None or b is None or a[1] != b[1] or not _can_compare(a[0], b[0]):
            yield TensorDifference(key, a, b)
        else:
            yield _numbers((key, *a), (key, *b), ours[key], theirs[key])
        done += _size_bytes((key, *a)) if a and b else 0
        progress(done, total)


def _can_compare(first: str, second: str) -> bool:
    return first == second or (first in FORMATS and second in FORMATS)


def _size_bytes(tensor: Tensor) -> int:
    return ELEMENT_BYTES[tensor[1]] * prod(tensor[2])


def _numbers(
    first: Tensor, second: Tensor, at: tuple[ByteSource, int], other_at: tuple[ByteSource, int]
) -> TensorDifference:
    key, dtype, shape = first
    elements = prod(shape)
    near = at[0].is_near and other_at[0].is_near
    most = (BLOCK_BYTES if near else FAR_BLOCK_BYTES) // ELEMENT_BYTES[dtype]
    differing, largest, of_difference, of_first = 0, 0.0, 0.0, 0.0
    for begin in range(0, elements, most):
        count = min(most, elements - begin)
        a, b = _read(at, dtype, begin, count), _read(other_at, second[1], begin, count)
        if dtype not in FORMATS:
            differing += int((a != b).any(axis=1).sum())
            continue
        x = FORMATS[dtype].exact(a.reshape(-1).view(FORMATS[dtype].storage))
        of_first += float(np.square(x).sum())
        if dtype == second[1] and np.array_equal(a, b):
            continue
        y = FORMATS[second[1]].exact(b.reshape(-1).view(FORMATS[second[1]].storage))
        with np.errstate(invalid="ignore"):
            apart = np.abs(x - y)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        apart[same] = 0.0
        differing += int((~same).sum())
        largest = float(np.maximum(largest, apart.max(initial=0.0)))
        of_difference += float(np.square(apart).sum())
    relative = math.sqrt(of_difference / of_first) if of_first and of_difference else 0.0
    return TensorDifference(
        key, (dtype, shape), (second[1], second[2]), elements, differing, largest, relative
    )


def _read(place: tuple[ByteSource, int], dtype: str, begin: int, count: int) -> NDArray[np.uint8]:
    """Shape (count, bytes of an element)."""
    size_bytes = ELEMENT_BYTES[dtype]
    data = np.empty((count, size_bytes), np.uint8)
    source, offset = place
    fill(source, offset + begin * size_bytes, data.reshape(-1).data)
    return data
