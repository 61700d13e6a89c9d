"""The engine's hook for kept sums: averages blocks by way of the accumulator's sums.

One `IncrementalSums` serves one merge. Each thread has a `SumWorker`, which brings blocks up to
date in any order; `IncrementalSums` takes the results in order. Whether the old sums could be
trusted is known at the end, before anything is published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stockpot.core.digests import Digest
from stockpot.merging.accumulator import (
    BLOCK_ELEMENTS,
    Accumulator,
    AccumulatorWriter,
    Seal,
    fold,
    refused,
)
from stockpot.merging.accumulator_blocks import Exact, SumsOfBlocks, WrongSumsError
from stockpot.merging.blocks import BlockBuffers, NotFiniteError
from stockpot.merging.formats import Format, Stored
from stockpot.merging.kernel import Kernel
from stockpot.merging.step import Step
from stockpot.store.ranges import InOrder, fill


@dataclass(frozen=True)
class BlockToWrite:
    """The sums of one block, ready to be written in order."""

    first: int
    old_fold: NDArray[np.uint32] | None
    sums: Stored
    fold: NDArray[np.uint32]
    exceptions: Mapping[int, Exact]


class IncrementalSums:
    """The sums of one merge: the old ones that it reads and the new ones that it writes."""

    def __init__(
        self,
        old: Accumulator | None,
        seal: str | None,
        step: Step,
        given: Format,
        output: Format,
        kernel: Kernel | None,
        path: Path,
    ) -> None:
        """Open the file of the new sums.

        Args:
            old: The sums to bring up to date. None stands for sums of zero.
            seal: The seal of the old sums in their manifest.
            step: The step from the old sums to the new ones.
            given: The format of the ingredients.
            output: The format of the means.
            kernel: The compiled kernel. None computes in numpy.
            path: Where the new sums are written.
        """
        self.old, self.step, self.given, self.output = old, step, given, output
        self.kernel = kernel
        self.block_elements = old.index.block_elements if old is not None else BLOCK_ELEMENTS
        self.near = old is None or old.source.is_near
        self.writer = AccumulatorWriter(path)
        self._seal, self._old_seal = seal, Seal()

    def worker(self) -> "SumWorker":
        """Create the worker of one thread."""
        return SumWorker(self)

    def put(self, update: Sequence[BlockToWrite]) -> None:
        """Write the next blocks, in order."""
        for block in update:
            if block.old_fold is not None:
                self._old_seal.block(block.old_fold)
            self.writer.put(block.first, block.sums, block.fold, block.exceptions)

    def finish(self, recipe: str, layout: str, elements: int) -> Digest | None:
        """Check the seal of the old sums and complete the file of the new ones.

        Call it when all blocks have been put.

        Returns:
            The seal of the new sums. None if they are not kept: too many are exceptions, or the
            disk is full.

        Raises:
            Refused: The old sums do not match their seal (exit 46).
        """
        if self.old is not None:
            actual = self._old_seal.finish(self.old.records.tobytes(), self.old.index.as_bytes)
            if actual != self._seal:
                raise refused(self.old.source.name, f"its seal is {actual}, not {self._seal}")
        return self.writer.finish(recipe, layout, self.given.name, elements, self.block_elements)

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


class SumWorker:
    """Brings blocks of sums up to date in one thread, and averages them."""

    def __init__(self, owner: IncrementalSums) -> None:
        self._owner = owner
        self._sums = SumsOfBlocks(
            owner.step, owner.given, owner.output, owner.block_elements, owner.kernel
        )
        old = owner.old
        self._old_bytes = np.empty(owner.block_elements, np.float64).view(np.uint8)
        self._stream = (
            InOrder(old.source, 0, old.sums_bytes) if old is not None and not owner.near else None
        )

    def average(self, first: int, buffers: BlockBuffers) -> tuple[int, list[BlockToWrite]]:
        """Bring the sums of some blocks up to date, and average them.

        Args:
            first: The first element, where a block begins.
            buffers: Consecutive whole blocks; the last may be shorter.

        Returns:
            The largest magnitude of the means, as bits of their format; and what to put.

        Raises:
            NotFiniteError: An ingredient has a NaN or an infinity.
            Refused: The old sums are cut short, or cannot be right (exit 46).
        """
        largest, updates = 0, []
        at_once = self._owner.block_elements
        for begin in range(0, buffers.out.size, at_once):
            end = begin + at_once
            blocks = [block[begin:end] for block in buffers.blocks]
            largest_here, update = self._update_block(
                first + begin, blocks, buffers.out[begin:end], begin
            )
            largest = max(largest, largest_here)
            updates.append(update)
        return largest, updates

    def close(self) -> None:
        """Close the stream of the old sums."""
        if self._stream is not None:
            self._stream.close()

    def _update_block(
        self, first: int, blocks: Sequence[Stored], out: Stored, begin: int
    ) -> tuple[int, BlockToWrite]:
        owner = self._owner
        number = first // owner.block_elements
        old = self._read(number)
        known = owner.old.exceptions_of(number) if owner.old is not None else {}
        try:
            now = self._sums.update(old, known, blocks, out)
        except NotFiniteError as error:
            raise NotFiniteError(error.part, error.element + begin) from None
        except WrongSumsError:
            assert owner.old is not None
            raise refused(owner.old.source.name, "its sums are not of its recipe") from None
        old_fold = fold(old, owner.kernel) if old is not None else None
        sums = now.sums.copy()  # The next block reuses the array.
        return now.largest, BlockToWrite(
            first, old_fold, sums, fold(sums, owner.kernel), now.exceptions
        )

    def _read(self, number: int) -> Stored | None:
        if self._owner.old is None:
            return None
        offset, kind, elements = self._owner.old.place_of(number)
        data = self._old_bytes[: elements * kind.itemsize]
        if self._stream is None:
            fill(self._owner.old.source, offset, data.data)
        else:
            self._stream.fill(data.data)
        return data.view(kind)
