"""Averages one block of elements: by the compiled kernel where it is exact, else by `mean`.

Both give the same bytes. NaNs and infinities of the ingredients are detected here as well, in the
same pass over the elements.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stockpot.merging.formats import Format, Stored
from stockpot.merging.kernel import Addresses, Kernel, PreparedMean, addresses
from stockpot.merging.mean import mean
from stockpot.store.weights import FLOATS

PLAIN_ELEMENTS = 1 << 15
"""Elements that `mean` gets at once: its temporaries stay in the processor's cache."""


@dataclass(frozen=True)
class BlockBuffers:
    """The arrays of one block, and their fixed addresses."""

    blocks: tuple[Stored, ...]
    """One for each ingredient; each of shape (elements,)."""
    out: Stored
    blocks_at: Addresses
    """Their addresses."""
    out_at: int


def block_buffers(blocks: Sequence[Stored], out: Stored) -> BlockBuffers:
    """Look up the addresses of contiguous arrays."""
    return BlockBuffers(tuple(blocks), out, addresses(blocks), out.ctypes.data)


def allocate_buffers(count: int, size_bytes: int) -> list[Stored]:
    """Allocate buffers of bytes, one for each ingredient, aligned to cache lines."""
    stride = -(-size_bytes // 64) * 64 + 64  # So that they do not all map to one cache set.
    memory = np.empty(count * stride + 64, np.uint8)
    skip = -memory.ctypes.data % 64
    return [memory[skip + i * stride : skip + i * stride + size_bytes] for i in range(count)]


MeanOfBlocks = Callable[[BlockBuffers], int]
"""Fills the output; returns the largest magnitude in it, as bits. Raises NotFiniteError."""


class NotFiniteError(Exception):
    """An ingredient has a NaN or an infinity.

    Attributes:
        part: The index of the block among the ingredients' blocks.
        element: The index of the element in that block.
    """

    def __init__(self, part: int, element: int) -> None:
        super().__init__(part, element)
        self.part, self.element = part, element


def mean_of_blocks(
    weights: Sequence[int], given: Format, output: Format, most_elements: int, kernel: Kernel | None
) -> MeanOfBlocks:
    """Prepare to average blocks of one recipe, in one thread.

    Args:
        weights: One for each block, each >= 1.
        given: The format of the blocks.
        output: The format to round to.
        most_elements: The number of elements of the largest block.
        kernel: The compiled kernel. None computes in numpy.

    Returns:
        A function to call for each block.
    """
    prepared = kernel.prepared(weights, given, output, most_elements) if kernel else None
    if prepared is None:
        return lambda on: _plain(on.blocks, weights, given, output, on.out)
    return lambda on: _compiled(prepared, on, weights, given, output)


def _compiled(
    prepared: PreparedMean, on: BlockBuffers, weights: Sequence[int], given: Format, output: Format
) -> int:
    doubts, largest = prepared.into(on.out_at, on.blocks_at, on.out.size)
    return max(largest, decide(doubts, on.blocks, on.out, weights, given, output))


def decide(
    doubts: Stored,
    blocks: Sequence[Stored],
    out: Stored,
    weights: Sequence[int],
    given: Format,
    output: Format,
) -> int:
    """Average the elements of a block that the kernel left undecided.

    Args:
        doubts: Their indices, in order.
        blocks: One for each ingredient.
        out: Receives the means.
        weights: One for each block, each >= 1.
        given: The format of the blocks.
        output: The format to round to.

    Returns:
        The largest magnitude among them, as bits of the output format.

    Raises:
        NotFiniteError: An ingredient has a NaN or an infinity.
    """
    largest = 0
    for first in range(0, doubts.size, PLAIN_ELEMENTS):
        chosen = doubts[first : first + PLAIN_ELEMENTS]
        gathered = [block[chosen] for block in blocks]
        require_finite(gathered, given, chosen)
        out[chosen] = decided = mean(gathered, weights, given, output)
        largest = max(largest, largest_of(decided, output))
    return largest


def _plain(
    blocks: Sequence[Stored], weights: Sequence[int], given: Format, output: Format, out: Stored
) -> int:
    largest = 0
    for first in range(0, out.size, PLAIN_ELEMENTS):
        pieces = [block[first : first + PLAIN_ELEMENTS] for block in blocks]
        require_finite(pieces, given, np.arange(first, first + pieces[0].size))
        decided = mean(pieces, weights, given, output)
        out[first : first + PLAIN_ELEMENTS] = decided
        largest = max(largest, largest_of(decided, output))
    return largest


def require_finite(blocks: Sequence[Stored], given: Format, elements: Stored) -> None:
    """Raise NotFiniteError if a block has a NaN or an infinity; `elements` are its indices."""
    form = FLOATS[given.name]
    for part, block in enumerate(blocks):
        not_finite = (block.view(form.bits) & form.magnitude) >= form.infinity
        if not_finite.any():
            raise NotFiniteError(part, int(elements[int(np.argmax(not_finite))]))


def largest_of(stored: Stored, output: Format) -> int:
    """Return the largest magnitude of some elements, as bits of their format."""
    form = FLOATS[output.name]
    return int((stored.view(form.bits) & form.magnitude).max(initial=0))
