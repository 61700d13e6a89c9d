"""What the engine is given: how to work, where the mean is written, and how sums are kept."""

from dataclasses import dataclass
from typing import Any, Protocol

from stockpot.merging.blocks import BlockBuffers
from stockpot.merging.kernel import Kernel


@dataclass(frozen=True)
class MergeSettings:
    """How to work. None of it changes a byte of the result."""

    threads: int = 1
    kernel: Kernel | None = None
    block_bytes: int | None = None
    """Bytes that one worker reads of each ingredient at once. None chooses by the sources."""


class Target(Protocol):
    """Where the mean is written to."""

    in_order: bool
    """Whether blocks must be written in order. If not, many threads write in any order."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write the bytes of the file from `offset` on."""
        ...


class SumsHookWorker(Protocol):
    """Averages blocks in one thread by way of kept sums."""

    def average(self, first: int, buffers: BlockBuffers) -> tuple[int, Any]:
        """Fill the output from element `first` on; return the largest magnitude and the update."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


class SumsHook(Protocol):
    """Keeps exact sums beside the mean, for checkpoints whose tensors form a single run."""

    block_elements: int
    """The engine averages a whole number of these at once."""
    near: bool
    """Whether reading is as cheap as from a local file, as for a source."""

    def worker(self) -> SumsHookWorker:
        """Create the worker of one thread."""
        ...

    def put(self, update: Any) -> None:
        """Take what a worker returned. Calls come in the order of the blocks."""
        ...
