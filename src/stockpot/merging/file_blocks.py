"""Averages blocks of local files while they are read, piece by piece, in one call of the kernel.

A piece of every ingredient is small enough to be averaged before it leaves the processor's cache,
and a block is large enough that the cost of Python is negligible. Python handles the exceptions:
`mean` decides elements that the kernel cannot, and a failed read is repeated to report its error.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockpot.merging.blocks import NotFiniteError, allocate_buffers, decide
from stockpot.merging.formats import Stored
from stockpot.merging.kernel import FilesToRead, Kernel, PreparedMean, addresses, spans_of
from stockpot.merging.layout import TensorRun
from stockpot.store.ranges import FileBytes, fill


def can_be_read(runs: Sequence[TensorRun], weights: Sequence[int]) -> bool:
    """Whether all ingredients are open files, and the kernel is exact for these weights."""
    total = sum(weights)
    averaged = [run for run in runs if not run.is_copied]
    return all(spans_of(total, run.given, run.output) for run in averaged) and all(
        isinstance(source, FileBytes) for run in averaged for source, _ in run.sources
    )


@dataclass(frozen=True)
class _PreparedRun:
    run: TensorRun
    prepared: PreparedMean
    files: FilesToRead
    piece: int
    """The number of elements of a piece."""
    views: tuple[Stored, ...]
    """A piece of each ingredient, as elements."""
    held: tuple[Any, ...]
    """Keeps alive the memory that `files` points to."""


class MeanOfFiles:
    """Averages blocks of one recipe, in one thread.

    Args:
        weights: One for each ingredient, each >= 1; see `can_be_read`.
        piece_bytes: Bytes of each ingredient that are held, whole elements of any type.
        kernel: Reads and averages.
    """

    def __init__(self, weights: Sequence[int], piece_bytes: int, kernel: Kernel) -> None:
        self._weights, self._kernel = weights, kernel
        self._pieces = allocate_buffers(len(weights), piece_bytes)
        self._last: _PreparedRun | None = None

    def into(self, out: Stored, run: TensorRun, first: int) -> int:
        """Fill an array with the means of a run, from element `first` on.

        Returns:
            The largest magnitude in it, as bits.

        Raises:
            NotFiniteError: An ingredient has a NaN or an infinity; counted from `first`.
            Refused: An ingredient ends too early (exit 46).
            Transient: An ingredient cannot be read.
        """
        ready = self._prepared_run(run)
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

    def _read(self, run: TensorRun, begin: int, elements: int) -> None:
        for piece, (source, offset) in zip(self._pieces, run.sources, strict=True):
            fill(source, offset + begin, piece[: elements * run.given.item_bytes].data)

    def _prepared_run(self, run: TensorRun) -> _PreparedRun:
        if self._last is not None and self._last.run is run:
            return self._last
        piece = self._pieces[0].size // run.given.item_bytes
        prepared = self._kernel.prepared(self._weights, run.given, run.output, piece)
        assert prepared is not None, "the caller did not check can_be_read"
        count = len(run.sources)
        near = [source for source, _ in run.sources if isinstance(source, FileBytes)]
        files = (ctypes.c_int * count)(*(source.descriptor for source in near))
        offsets = (ctypes.c_int64 * count)(*(offset for _, offset in run.sources))
        pieces = addresses(self._pieces)
        held = (files, offsets, pieces)
        to_read = FilesToRead(*(ctypes.addressof(array) for array in held), piece)
        views = tuple(
            data[: piece * run.given.item_bytes].view(run.given.storage) for data in self._pieces
        )
        self._last = _PreparedRun(run, prepared, to_read, piece, views, held)
        return self._last
