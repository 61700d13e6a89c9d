"""Blocks of local files, averaged as they are read: piece by piece, in one call of the kernel.

A piece of every ingredient is small enough to be averaged before it leaves the processor's cache,
and a block is large enough that Python costs nothing beside it. Whatever is not ordinary is left to
the plain way: what the kernel cannot decide, to `mean`; what it cannot read, to who says why.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockpot.merging.blocks import NotFiniteError, buffers, decide
from stockpot.merging.formats import Stored
from stockpot.merging.kernel import FilesToRead, Kernel, PreparedMean, addresses, spans_of
from stockpot.merging.layout import Run
from stockpot.store.ranges import FileBytes, fill


def can_be_read(runs: Sequence[Run], weights: Sequence[int]) -> bool:
    """Whether all lies in open files, and the kernel can do with the weights."""
    total = sum(weights)
    averaged = [run for run in runs if not run.is_copied]
    return all(spans_of(total, run.given, run.output) for run in averaged) and all(
        isinstance(source, FileBytes) for run in averaged for source, _ in run.sources
    )


@dataclass(frozen=True)
class _Ready:
    run: Run
    prepared: PreparedMean
    files: FilesToRead
    piece: int
    """Elements."""
    views: tuple[Stored, ...]
    """A piece of each ingredient, as elements."""
    held: tuple[Any, ...]
    """What `files` points to."""


class MeanOfFiles:
    """Averages blocks of one recipe, in one thread.

    Args:
        weights: One for each ingredient, each >= 1; not too heavy for the kernel.
        piece_bytes: How much of each ingredient is held, whole elements of any type.
        kernel: What reads and averages.
    """

    def __init__(self, weights: Sequence[int], piece_bytes: int, kernel: Kernel) -> None:
        self._weights, self._kernel = weights, kernel
        self._pieces = buffers(len(weights), piece_bytes)
        self._last: _Ready | None = None

    def into(self, out: Stored, run: Run, first: int) -> int:
        """Fill an array with the means of a run, from element `first` on.

        Returns:
            The largest magnitude in it, as bits.

        Raises:
            NotFiniteError: An ingredient has a NaN or an infinity; counted from `first`.
            Refused: One ends too early (exit 46).
            Transient: One cannot be read.
        """
        ready = self._ready(run)
        done = largest = 0
        while done < out.size:
            at, left = out.ctypes.data + done * run.output.item_bytes, out.size - done
            averaged, doubts, top = ready.prepared.read_into(at, ready.files, first + done, left)
            done, largest = done + averaged, max(largest, top)
            if doubts.size:
                begin = done - (averaged - 1) % ready.piece - 1
            elif done < out.size:
                begin, done = done, min(done + ready.piece, out.size)
                doubts = np.arange(done - begin, dtype=np.uint32)
                self._read(run, (first + begin) * run.given.item_bytes, doubts.size)
            else:
                break
            views = [view[: done - begin] for view in ready.views]
            try:
                decided = decide(
                    doubts, views, out[begin:done], self._weights, run.given, run.output
                )
            except NotFiniteError as error:
                raise NotFiniteError(error.part, begin + error.element) from None
            largest = max(largest, decided)
        return largest

    def _read(self, run: Run, begin: int, elements: int) -> None:
        for piece, (source, offset) in zip(self._pieces, run.sources, strict=True):
            fill(source, offset + begin, piece[: elements * run.given.item_bytes].data)

    def _ready(self, run: Run) -> _Ready:
        if self._last is not None and self._last.run is run:
            return self._last
        piece = self._pieces[0].size // run.given.item_bytes
        prepared = self._kernel.prepared(self._weights, run.given, run.output, piece)
        assert prepared is not None, "can_be_read was not asked"
        count = len(run.sources)
        near = [source for source, _ in run.sources if isinstance(source, FileBytes)]
        files = (ctypes.c_int * count)(*(source.descriptor for source in near))
        offsets = (ctypes.c_int64 * count)(*(offset for _, offset in run.sources))
        pieces = addresses(self._pieces)
        held = (files, offsets, pieces)
        where = FilesToRead(*(ctypes.addressof(one) for one in held), piece)
        views = tuple(
            one[: piece * run.given.item_bytes].view(run.given.storage) for one in self._pieces
        )
        self._last = _Ready(run, prepared, where, piece, views, held)
        return self._last
