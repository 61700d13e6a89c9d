"""The engine's hook for kept sums: the mean of a block, by way of the accumulator.

A ledger is of one merge. Each thread has a clerk, who brings blocks up to date in any order; the
ledger takes what they found in order. Whether the old sums could be trusted is known at the end,
before anything is published.
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
    Seal,
    Writing,
    fold,
    refused,
)
from stockpot.merging.accumulator_blocks import Exact, SumsOfBlocks, WrongSumsError
from stockpot.merging.blocks import Bench, NotFiniteError
from stockpot.merging.formats import Format, Stored
from stockpot.merging.kernel import Kernel
from stockpot.merging.step import Step
from stockpot.store.ranges import InOrder, fill


@dataclass(frozen=True)
class Entry:
    """What became of one block."""

    first: int
    old_fold: NDArray[np.uint32] | None
    sums: Stored
    fold: NDArray[np.uint32]
    exceptions: Mapping[int, Exact]


class Ledger:
    """The sums of one merge, as they were and as they become."""

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
        """Open the books.

        Args:
            old: The sums that are brought up to date; None: all zero.
            seal: Of the old ones, as their manifest says.
            step: From these to the new ones.
            given: Of the ingredients.
            output: Of the means.
            kernel: None to do without.
            path: Where the new sums are written to; nothing is there.
        """
        self.old, self.step, self.given, self.output = old, step, given, output
        self.kernel = kernel
        self.block_elements = old.index.block_elements if old is not None else BLOCK_ELEMENTS
        self.near = old is None or old.source.is_near
        self.writing = Writing(path)
        self._seal, self._old_seal = seal, Seal()

    def clerk(self) -> "Clerk":
        """Take on one for a thread."""
        return Clerk(self)

    def put(self, entries: Sequence[Entry]) -> None:
        """Take the next blocks, in order."""
        for entry in entries:
            if entry.old_fold is not None:
                self._old_seal.block(entry.old_fold)
            self.writing.put(entry.first, entry.sums, entry.fold, entry.exceptions)

    def finish(self, recipe: str, layout: str, elements: int) -> Digest | None:
        """Close the books: all blocks were put.

        Returns:
            The seal of the new sums; None where they are not kept: too many are exceptions, or
            the disk is full.

        Raises:
            Refused: The old sums are not those that were sealed (exit 46).
        """
        if self.old is not None:
            found = self._old_seal.finish(self.old.records.tobytes(), self.old.index.as_bytes)
            if found != self._seal:
                raise refused(self.old.source.name, f"its seal is {found}, not {self._seal}")
        return self.writing.finish(recipe, layout, self.given.name, elements, self.block_elements)

    def close(self) -> None:
        """Let go of the file."""
        self.writing.close()


class Clerk:
    """Who keeps the books in one thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sums = SumsOfBlocks(
            ledger.step, ledger.given, ledger.output, ledger.block_elements, ledger.kernel
        )
        old = ledger.old
        self._room = np.empty(ledger.block_elements, np.float64).view(np.uint8)
        self._stream = (
            InOrder(old.source, 0, old.sums_bytes) if old is not None and not ledger.near else None
        )

    def average(self, first: int, on: Bench) -> tuple[int, list[Entry]]:
        """Bring the sums of some blocks up to date, and average them.

        Args:
            first: The first element, of a block.
            on: Whole blocks, one behind the other; the last may be shorter.

        Returns:
            The largest magnitude of the means, as bits of their format; and what to put.

        Raises:
            NotFiniteError: An ingredient has a NaN or an infinity.
            Refused: The old sums are cut short, or cannot be right (exit 46).
        """
        largest, entries = 0, []
        at_once = self._ledger.block_elements
        for begin in range(0, on.out.size, at_once):
            end = begin + at_once
            blocks = [block[begin:end] for block in on.blocks]
            largest_here, entry = self._one(first + begin, blocks, on.out[begin:end], begin)
            largest = max(largest, largest_here)
            entries.append(entry)
        return largest, entries

    def close(self) -> None:
        """Let go of what is read in order."""
        if self._stream is not None:
            self._stream.close()

    def _one(
        self, first: int, blocks: Sequence[Stored], out: Stored, begin: int
    ) -> tuple[int, Entry]:
        ledger = self._ledger
        number = first // ledger.block_elements
        old = self._read(number)
        known = ledger.old.exceptions_of(number) if ledger.old is not None else {}
        try:
            now = self._sums.account(old, known, blocks, out)
        except NotFiniteError as error:
            raise NotFiniteError(error.part, error.element + begin) from None
        except WrongSumsError:
            assert ledger.old is not None
            raise refused(ledger.old.source.name, "its sums are not of its recipe") from None
        old_fold = fold(old, ledger.kernel) if old is not None else None
        sums = now.sums.copy()  # The next block is made in the same room.
        return now.largest, Entry(first, old_fold, sums, fold(sums, ledger.kernel), now.exceptions)

    def _read(self, number: int) -> Stored | None:
        if self._ledger.old is None:
            return None
        offset, kind, elements = self._ledger.old.place_of(number)
        room = self._room[: elements * kind.itemsize]
        if self._stream is None:
            fill(self._ledger.old.source, offset, room.data)
        else:
            self._stream.fill(room.data)
        return room.view(kind)
