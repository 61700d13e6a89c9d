"""Which blocks a merge is cut into, how large they are, and in which order they pass the hashes."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stockpot.merging.layout import TensorRun

NEAR_BLOCK_BYTES = 1 << 17
"""Block of a local file: what was read is averaged before it leaves the processor's cache."""
NEAR_BYTES = 2 << 20
"""Blocks of all ingredients together, in one worker."""
PIECE_BYTES, PIECES_BYTES = 1 << 16, 4 << 20
"""Piece of one ingredient and of all together, where the kernel reads a block piece by piece."""
PIECED_BLOCK_BYTES = 1 << 20
"""Block of a local file that the kernel reads. Larger ones gain nothing: Python's work for a block
is small by then, and so is the cost of a write."""
FAR_BLOCK_BYTES, FAR_BYTES = 1 << 20, 16 << 20
"""Block of one ingredient and of all together, from an object store. One worker reads them in order
with one request for each ingredient."""
LEAST_BLOCK_BYTES = 1 << 12


@dataclass(frozen=True)
class Block:
    """A range of the elements of one run, averaged at once."""

    number: int
    run: TensorRun
    first: int
    elements: int


class AbortedError(Exception):
    """Another worker failed."""


class BlockOrder:
    """Lets blocks pass each of several streams (the hashes) in the order of their numbers."""

    def __init__(self, streams: int, single_worker: bool) -> None:
        self._next = [0] * streams
        self._changed = threading.Condition()
        self._single_worker = single_worker
        self.aborted = False

    def wait(self, stream: int, number: int) -> None:
        """Wait until every earlier block has passed the stream.

        Raises:
            AbortedError: Another worker failed.
        """
        if self._single_worker:
            return
        with self._changed:
            self._changed.wait_for(lambda: self.aborted or self._next[stream] == number)
            if self.aborted:
                raise AbortedError

    def release(self, stream: int) -> None:
        """Let the next block pass the stream."""
        if self._single_worker:
            return
        with self._changed:
            self._next[stream] += 1
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake all waiting workers and make them end."""
        with self._changed:
            self.aborted = True
            self._changed.notify_all()


def cut(runs: Sequence[TensorRun], block_bytes: int) -> Iterator[Block]:
    """Cut runs into blocks of at most `block_bytes` of each ingredient."""
    number = 0
    for run in runs:
        most = block_bytes // run.given.item_bytes
        elements = run.elements
        for first in range(0, elements, most):
            yield Block(number, run, first, min(most, elements - first))
            number += 1


def block_bytes_for(*, near: bool, pieced: bool, count: int) -> int:
    """Choose how many bytes of each ingredient a worker takes at once.

    Args:
        near: Whether reading is as cheap as from a local file.
        pieced: Whether the kernel reads blocks itself, piece by piece.
        count: The number of ingredients.
    """
    if pieced:
        return PIECED_BLOCK_BYTES
    most, total = (NEAR_BLOCK_BYTES, NEAR_BYTES) if near else (FAR_BLOCK_BYTES, FAR_BYTES)
    return _share(most, total, count)


def piece_bytes_for(count: int) -> int:
    """Choose how many bytes of each of `count` ingredients the kernel holds at once."""
    return _share(PIECE_BYTES, PIECES_BYTES, count)


def _share(most: int, total: int, count: int) -> int:
    wanted = min(most, total // count)
    return max(LEAST_BLOCK_BYTES, wanted // LEAST_BLOCK_BYTES * LEAST_BLOCK_BYTES)
