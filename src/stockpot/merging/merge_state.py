"""The state that the workers of one merge share: its blocks, hashes, progress and failures."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from stockpot.merging.file_blocks import can_be_read
from stockpot.merging.interfaces import MergeSettings, SumsHook, Target
from stockpot.merging.kernel import Kernel
from stockpot.merging.layout import TensorRun
from stockpot.merging.schedule import Block, BlockOrder, block_bytes_for, cut
from stockpot.store.safetensors import Header, header_bytes

PARALLEL_REQUESTS = 8
"""How many ingredients are requested from a store at once."""


class MergeState:
    """What all workers of one merge share."""

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[int],
        runs: Sequence[TensorRun],
        header: Header,
        target: Target,
        settings: MergeSettings,
        hashed: Sequence[bytes] | None,
        advance: Callable[[int], None],
        sums_hook: SumsHook | None,
    ) -> None:
        self.names, self.weights, self.runs, self.target = names, weights, runs, target
        self.kernel, self.advance, self.sums_hook = settings.kernel, advance, sums_hook
        near = all(source.is_near for run in runs for source, _ in run.sources)
        near = near and (sums_hook is None or sums_hook.near)
        self.workers = settings.threads if near else 1
        self.reading_kernel: Kernel | None = None
        """Set where the kernel reads local files itself: nothing but the mean is wanted of them."""
        if not hashed and sums_hook is None and can_be_read(runs, weights):
            self.reading_kernel = settings.kernel
        self.requests = None if near else ThreadPoolExecutor(min(PARALLEL_REQUESTS, len(names)))
        wanted = settings.block_bytes or block_bytes_for(
            near=near, pieced=self.reading_kernel is not None, count=len(names)
        )
        # Whole elements of any type; or whole blocks of kept sums.
        unit = sums_hook.block_elements * runs[0].given.item_bytes if sums_hook else 4
        self.block_bytes = max(unit, wanted // unit * unit)
        first = header_bytes(header)
        self.out = hashlib.sha256(first)
        self.inputs = [hashlib.sha256(data) for data in hashed or ()]
        self.order = BlockOrder(len(self.inputs) + 1, single_worker=self.workers == 1)
        self.largest = 0
        self.done_bytes = 0
        self._blocks = cut(runs, self.block_bytes)
        self._lock = threading.Lock()
        self._failures: list[tuple[int, BaseException]] = []
        target.write(0, memoryview(first))

    def next_block(self) -> Block | None:
        """Take the next block; None when none is left."""
        with self._lock:
            return next(self._blocks, None)

    def fail(self, number: int, error: BaseException) -> None:
        """Record that a block failed, and end the other workers."""
        self._failures.append((number, error))
        self.order.abort()

    def raise_first_failure(self) -> None:
        """Raise the error of the earliest block that failed, if any did."""
        if self._failures:
            raise min(self._failures, key=lambda failure: failure[0])[1]
