"""Tensors that are copied instead of averaged: those of types that the mean is not defined for.

Models hold some beside their weights: `position_ids` of CLIP and BERT, counters of batches, masks,
tables of a schedule in fp64. A tensor whose bits are equal in all checkpoints is copied. One that
differs is refused by name, for no mean is defined for it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stockpot.merging.checkpoints import OpenCheckpoint
from stockpot.merging.formats import FORMATS
from stockpot.merging.values import numbers_of
from stockpot.store.ranges import ByteSource, fill
from stockpot.store.safetensors import ELEMENT_BITS, Tensor, refuse, tensor_bytes

BLOCK_BYTES = 3 << 20
"""A whole number of elements of every type, including those of six bits."""


def is_copied(tensor: Tensor) -> bool:
    """Whether a tensor has a type that is copied instead of averaged."""
    return tensor[1] not in FORMATS


def require_equal_copies(checkpoints: Sequence[OpenCheckpoint]) -> None:
    """Refuse checkpoints that differ in a tensor that can only be copied.

    Args:
        checkpoints: All of one layout.

    Raises:
        Refused: A checkpoint differs from the first (exit 46); the message names tensor and index.
        Transient: A checkpoint cannot be read.
    """
    first = checkpoints[0]
    copied = [number for number, tensor in enumerate(first.tensors) if is_copied(tensor)]
    for number in copied:
        for other in checkpoints[1:]:
            if other.places[number] != first.places[number]:
                _require_equal(first, other, number)


def _require_equal(first: OpenCheckpoint, other: OpenCheckpoint, number: int) -> None:
    key, dtype, shape = first.tensors[number]
    size_bytes = tensor_bytes(dtype, shape)
    for begin in range(0, size_bytes, BLOCK_BYTES):
        length = min(BLOCK_BYTES, size_bytes - begin)
        ours = read_bytes(first.places[number], begin, length)
        theirs = read_bytes(other.places[number], begin, length)
        differing = np.flatnonzero(ours != theirs)
        if not differing.size:
            continue
        bits = ELEMENT_BITS[dtype]
        at = int(differing[0]) * 8 // bits
        a, b = (numbers_of(data, dtype) for data in (ours, theirs))
        # Two elements of a narrow type may share the byte that differs.
        while a[at] == b[at] and at + 1 < a.size and bits % 8:
            at += 1
        index = [int(i) for i in np.unravel_index(begin * 8 // bits + at, shape)] if shape else []
        refuse(
            other.name,
            f"tensor {key} is {dtype}, which is copied and not averaged, and at {index} it is "
            f"{b[at]}, in {first.name} {a[at]}",
            f"such tensors must be equal in all checkpoints; only "
            f"{', '.join(sorted(FORMATS))} are averaged",
        )


def read_bytes(place: tuple[ByteSource, int], begin: int, length: int) -> NDArray[np.uint8]:
    """Read `length` bytes of a tensor, from its byte `begin` on."""
    source, offset = place
    data = np.empty(length, np.uint8)
    fill(source, offset + begin, data.data)
    return data
