"""One worker of a merge: reads, averages, hashes and writes blocks with buffers of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockpot.errors import ExitCode, Refused
from stockpot.merging.blocks import (
    BlockBuffers,
    MeanOfBlocks,
    NotFiniteError,
    allocate_buffers,
    block_buffers,
    mean_of_blocks,
)
from stockpot.merging.file_blocks import MeanOfFiles
from stockpot.merging.formats import Format, Stored
from stockpot.merging.layout import TensorRun
from stockpot.merging.merge_state import MergeState
from stockpot.merging.schedule import Block, piece_bytes_for
from stockpot.store.ranges import InOrder, cut_short, fill
from stockpot.store.weights import FLOATS

MOST_BUFFER_SIZES = 16


@dataclass(frozen=True)
class _Buffers:
    """The buffers of one block size, as bytes and as elements."""

    views: list[memoryview]
    """Bytes of each ingredient."""
    elements: BlockBuffers


class BlockWorker:
    """The buffers of one thread, and what it does with a block."""

    def __init__(self, shared: MergeState) -> None:
        self._shared = shared
        count = len(shared.names)
        self._files: MeanOfFiles | None = None
        self._inputs: list[Stored] = []
        if shared.reading_kernel is not None:
            piece_bytes = min(piece_bytes_for(count), shared.block_bytes)
            self._files = MeanOfFiles(shared.weights, piece_bytes, shared.reading_kernel)
        else:
            self._inputs = allocate_buffers(count, shared.block_bytes)
        self._out = np.empty(2 * shared.block_bytes, np.uint8)
        self._buffers_by_size: dict[tuple[int, str, str], _Buffers] = {}
        self._means: dict[tuple[str, str], MeanOfBlocks] = {}
        self._streams: list[InOrder] = []
        self._streamed: TensorRun | None = None
        self._sums_worker = shared.sums_hook.worker() if shared.sums_hook else None

    def average(self, block: Block) -> None:
        """Read a block of every ingredient, average, hash and write it.

        Raises:
            AbortedError: Another worker failed.
            Refused: An ingredient is cut short or has a NaN or an infinity, or an element is too
                large for the output (exit 46).
            Transient: An ingredient cannot be read, or the target not be written.
        """
        shared, run = self._shared, block.run
        mean = self._out[: block.elements * run.output.item_bytes].view(run.output.storage)
        sums_update: Any = None
        with _naming_nonfinite(block, shared.names):
            if run.is_copied:
                # Known to be equal in all of them.
                source, offset = run.sources[0]
                fill(source, offset + block.first, mean.data)
                largest = 0
            elif self._files is not None:
                largest = self._files.into(mean, run, block.first)
            else:
                largest, sums_update = self._average_in_memory(block)
        if not run.is_copied and largest >= FLOATS[run.output.name].infinity:
            _refuse_too_large(block, mean)
        at, out = run.offset + block.first * run.output.item_bytes, mean.view(np.uint8).data
        if not shared.target.in_order:
            shared.target.write(at, out)
        stream = len(shared.inputs)
        shared.order.wait(stream, block.number)
        shared.out.update(out)
        if shared.sums_hook is not None:
            shared.sums_hook.put(sums_update)
        if shared.target.in_order:
            shared.target.write(at, out)
        shared.largest = max(shared.largest, largest)
        shared.done_bytes += block.elements * run.given.item_bytes * len(shared.names)
        shared.advance(shared.done_bytes)
        shared.order.release(stream)

    def _average_in_memory(self, block: Block) -> tuple[int, Any]:
        """Read a whole block into memory, hash what was read, and average it."""
        shared, run, own = self._shared, block.run, self._buffers_for(block)
        self._read(own, run, block.first * run.given.item_bytes)
        for stream, sha256 in enumerate(shared.inputs):
            shared.order.wait(stream, block.number)
            sha256.update(own.views[stream])
            shared.order.release(stream)
        if self._sums_worker is not None:
            return self._sums_worker.average(block.first, own.elements)
        return self._mean_of(run.given, run.output)(own.elements), None

    def _read(self, own: _Buffers, run: TensorRun, begin: int) -> None:
        if self._shared.requests is None:
            for view, (source, offset) in zip(own.views, run.sources, strict=True):
                if (done := source.read_into(offset + begin, view)) < len(view):
                    raise cut_short(source, offset + begin + done)
            return
        if run is not self._streamed:
            self._close_streams()
            length = run.elements * run.given.item_bytes
            self._streams = [InOrder(source, offset, length) for source, offset in run.sources]
            self._streamed = run
            # Only the requests are sent in parallel. The bytes of all streams gather in the sockets
            # while one is read: threads would only pass the interpreter lock to each other.
            pending = [self._shared.requests.submit(stream.begin) for stream in self._streams]
            for request in pending:
                request.result()
        for stream, view in zip(self._streams, own.views, strict=True):
            stream.fill(view)

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams = []

    def close(self) -> None:
        """Release its streams and its worker of kept sums."""
        self._close_streams()
        if self._sums_worker is not None:
            self._sums_worker.close()

    def _buffers_for(self, block: Block) -> _Buffers:
        """Lay out the buffers for a block; layouts are cached, for most blocks have one size."""
        given, output = block.run.given, block.run.output
        buffers = self._buffers_by_size.get((block.elements, given.name, output.name))
        if buffers is None:
            size_bytes = block.elements * given.item_bytes
            views = [whole[:size_bytes] for whole in self._inputs]
            out = self._out[: block.elements * output.item_bytes]
            elements = [view.view(given.storage) for view in views]
            buffers = _Buffers(
                [view.data for view in views], block_buffers(elements, out.view(output.storage))
            )
            if len(self._buffers_by_size) < MOST_BUFFER_SIZES:
                self._buffers_by_size[block.elements, given.name, output.name] = buffers
        return buffers

    def _mean_of(self, given: Format, output: Format) -> MeanOfBlocks:
        mean = self._means.get((given.name, output.name))
        if mean is None:
            shared = self._shared
            most = shared.block_bytes // given.item_bytes
            mean = mean_of_blocks(shared.weights, given, output, most, shared.kernel)
            self._means[given.name, output.name] = mean
        return mean


@contextmanager
def _naming_nonfinite(block: Block, names: Sequence[str]) -> Iterator[None]:
    """Turn NotFiniteError into a refusal that names the checkpoint, the tensor and the index."""
    try:
        yield
    except NotFiniteError as error:
        key, index = block.run.place_of(block.first + error.element)
        raise Refused(
            f"{names[error.part]} is refused: tensor {key} has a NaN or an infinity at {index}",
            help="leave that checkpoint out, or use one from before it broke",
            exit_code=ExitCode.BAD_WEIGHTS,
        ) from None


def _refuse_too_large(block: Block, out: Stored) -> None:
    form = FLOATS[block.run.output.name]
    not_finite = (out.view(form.bits) & form.magnitude) >= form.infinity
    key, index = block.run.place_of(block.first + int(np.argmax(not_finite)))
    raise Refused(
        f"the mean of tensor {key} at {index} is too large for {block.run.output.name}",
        help="choose another output (in a Soup: spec.merge.output): bf16 or fp32",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
