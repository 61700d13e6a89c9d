"""From checkpoints to the bytes of their mean: read, average, hash and write, block by block.

Workers take blocks in order, each with buffers of its own, and none waits for another but at the
hashes, which every block passes in its turn. So memory does not grow with the model, a second core
is used without a second copy, and the bytes are the same for any number of workers.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.blocks import (
    Bench,
    MeanOfBlocks,
    NotFiniteError,
    bench,
    buffers,
    mean_of_blocks,
)
from stockpot.merging.file_blocks import MeanOfFiles, can_be_read
from stockpot.merging.formats import Format, Stored
from stockpot.merging.kernel import Kernel
from stockpot.merging.layout import Run
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.ranges import InOrder, cut_short, fill
from stockpot.store.safetensors import Header, header_bytes
from stockpot.store.weights import FLOATS

NEAR_BLOCK_BYTES = 1 << 17
"""Of a local file: so that what was read is averaged before it leaves the processor's cache."""
NEAR_BYTES = 2 << 20
"""Of all ingredients' blocks together, in one worker."""
PIECE_BYTES, PIECES_BYTES = 1 << 16, 4 << 20
"""The same, where the kernel reads by itself: it goes through a block by pieces of these."""
PIECED_BLOCK_BYTES = 1 << 20
"""As far as that pays: what Python does for a block is little, and larger writes cost less each."""
FAR_BLOCK_BYTES, FAR_BYTES = 1 << 20, 16 << 20
"""The same of a store. It is read by one worker, in order: one request for each ingredient."""
FETCHES = 8
"""How many ingredients a store is asked for at once."""
LEAST_BLOCK_BYTES = 1 << 12
MOST_DESKS = 16


class Target(Protocol):
    """Where the mean is written to."""

    in_order: bool
    """Whether blocks must come one behind the other; else in any order, from many threads."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write the bytes of the file from `offset` on."""
        ...


class Clerk(Protocol):
    """Averages blocks in one thread, by way of sums that are kept."""

    def average(self, first: int, on: Bench) -> tuple[int, Any]:
        """Fill the output, from element `first` on; return the largest, and what to put."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Ledger(Protocol):
    """Sums that are kept beside the mean: of checkpoints that are one run."""

    block_elements: int
    """What is averaged at once is a whole number of these."""
    near: bool
    """As of a source."""

    def clerk(self) -> Clerk:
        """Take on one for a thread."""
        ...

    def put(self, found: Any) -> None:
        """Take what a clerk returned; it comes in order."""
        ...


@dataclass(frozen=True)
class MergeSettings:
    """How to work. None of it changes a byte of the result."""

    threads: int = 1
    kernel: Kernel | None = None
    block_bytes: int | None = None
    """Of each ingredient, in one worker; None: what suits the sources."""


@dataclass(frozen=True)
class Averaged:
    """What is known of the mean when it is written."""

    digest: Digest
    """The weights digest: the SHA-256 of the output."""
    inputs: tuple[Digest, ...]
    """The SHA-256 of each checkpoint's file; none where they were not asked for."""
    largest: int
    """The largest magnitude of the output, as bits; of use where it has one type."""


class _AbortedError(Exception):
    """Another worker failed."""


@dataclass(frozen=True)
class _Block:
    number: int
    run: Run
    first: int
    elements: int


class _Turns:
    """Streams, each of which is passed by one block after the other."""

    def __init__(self, streams: int, alone: bool) -> None:
        self._next = [0] * streams
        self._changed = threading.Condition()
        self._alone = alone
        self.broken = False

    def take(self, stream: int, number: int) -> None:
        """Wait until every block before this one has passed."""
        if self._alone:
            return
        with self._changed:
            self._changed.wait_for(lambda: self.broken or self._next[stream] == number)
            if self.broken:
                raise _AbortedError

    def passed(self, stream: int) -> None:
        if self._alone:
            return
        with self._changed:
            self._next[stream] += 1
            self._changed.notify_all()

    def break_off(self) -> None:
        with self._changed:
            self.broken = True
            self._changed.notify_all()


class _Averaging:
    """One averaging under way: what all of its workers share."""

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[int],
        runs: Sequence[Run],
        header: Header,
        target: Target,
        settings: MergeSettings,
        hashed: Sequence[bytes] | None,
        advance: Callable[[int], None],
        stop: threading.Event,
        ledger: Ledger | None,
    ) -> None:
        self.names, self.weights, self.runs, self.target = names, weights, runs, target
        self.kernel, self.stop, self.advance = settings.kernel, stop, advance
        self.ledger = ledger
        near = all(source.is_near for run in runs for source, _ in run.sources)
        near = near and (ledger is None or ledger.near)
        self.workers = settings.threads if near else 1
        self.pieced: Kernel | None = None
        """Reads by itself: of local files, of which nothing but the mean is wanted."""
        if not hashed and ledger is None and can_be_read(runs, weights):
            self.pieced = settings.kernel
        self.fetches = None if near else ThreadPoolExecutor(min(FETCHES, len(names)))
        wanted = settings.block_bytes or (
            PIECED_BLOCK_BYTES if self.pieced else _block_bytes(near, len(names))
        )
        # Whole elements of any type; or whole blocks of kept sums.
        unit = ledger.block_elements * runs[0].given.item_bytes if ledger else 4
        self.block_bytes = max(unit, wanted // unit * unit)
        first = header_bytes(header)
        self.out = hashlib.sha256(first)
        self.inputs = [hashlib.sha256(data) for data in hashed or ()]
        self.turns = _Turns(len(self.inputs) + 1, alone=self.workers == 1)
        self.largest = 0
        self.done_bytes = 0
        self._blocks = self._cut()
        self._lock = threading.Lock()
        self._failures: list[tuple[int, BaseException]] = []
        target.write(0, memoryview(first))

    def _cut(self) -> Iterator[_Block]:
        number = 0
        for run in self.runs:
            most = self.block_bytes // run.given.item_bytes
            elements = run.elements
            for first in range(0, elements, most):
                yield _Block(number, run, first, min(most, elements - first))
                number += 1

    def take(self) -> _Block | None:
        with self._lock:
            return next(self._blocks, None)

    def work(self) -> None:
        """Average blocks until none is left."""
        worker, number = _Worker(self), -1
        try:
            while not self.turns.broken and (block := self.take()) is not None:
                number = block.number
                raise_if_stopping(
                    self.stop,
                    "The merge ended when asked to; nothing was published.",
                    help="Run it again: it starts from the beginning.",
                )
                worker.average(block)
        except _AbortedError:
            return
        except BaseException as error:  # Raised again by the thread that waits for all.
            self._failures.append((number, error))
            self.turns.break_off()
        finally:
            worker.end()

    def finish(self) -> None:
        """Raise what went wrong first, where anything did."""
        if self._failures:
            raise min(self._failures, key=lambda failure: failure[0])[1]


class _Worker:
    """The buffers of one thread, and what it does with a block."""

    def __init__(self, shared: _Averaging) -> None:
        self._shared = shared
        count = len(shared.names)
        self._files: MeanOfFiles | None = None
        self._buffers: list[Stored] = []
        if shared.pieced is not None:
            piece_bytes = min(_share(PIECE_BYTES, PIECES_BYTES, count), shared.block_bytes)
            self._files = MeanOfFiles(shared.weights, piece_bytes, shared.pieced)
        else:
            self._buffers = buffers(count, shared.block_bytes)
        self._out = np.empty(2 * shared.block_bytes, np.uint8)
        self._desks: dict[tuple[int, str, str], _Desk] = {}
        self._means: dict[tuple[str, str], MeanOfBlocks] = {}
        self._streams: list[InOrder] = []
        self._streamed: Run | None = None
        self._clerk = shared.ledger.clerk() if shared.ledger else None

    def average(self, block: _Block) -> None:
        """Read a block of every ingredient, average, hash and write it."""
        shared, run = self._shared, block.run
        mean = self._out[: block.elements * run.output.item_bytes].view(run.output.storage)
        kept: Any = None
        with _said_of(block, shared.names):
            if run.is_copied:
                # Known to be equal in all of them.
                source, offset = run.sources[0]
                fill(source, offset + block.first, mean.data)
                largest = 0
            elif self._files is not None:
                largest = self._files.into(mean, run, block.first)
            else:
                largest, kept = self._whole(block)
        if not run.is_copied and largest >= FLOATS[run.output.name].infinity:
            _refuse_too_large(block, mean)
        at, out = run.offset + block.first * run.output.item_bytes, mean.view(np.uint8).data
        if not shared.target.in_order:
            shared.target.write(at, out)
        stream = len(shared.inputs)
        shared.turns.take(stream, block.number)
        shared.out.update(out)
        if shared.ledger is not None:
            shared.ledger.put(kept)
        if shared.target.in_order:
            shared.target.write(at, out)
        shared.largest = max(shared.largest, largest)
        shared.done_bytes += block.elements * run.given.item_bytes * len(shared.names)
        shared.advance(shared.done_bytes)
        shared.turns.passed(stream)

    def _whole(self, block: _Block) -> tuple[int, Any]:
        """Read and average a block that is in memory as a whole; hash what was read."""
        shared, run, desk = self._shared, block.run, self._desk(block)
        self._read(desk, run, block.first * run.given.item_bytes)
        for stream, sha256 in enumerate(shared.inputs):
            shared.turns.take(stream, block.number)
            sha256.update(desk.views[stream])
            shared.turns.passed(stream)
        if self._clerk is not None:
            return self._clerk.average(block.first, desk.bench)
        return self._mean_of(run.given, run.output)(desk.bench), None

    def _read(self, desk: "_Desk", run: Run, begin: int) -> None:
        if self._shared.fetches is None:
            for view, (source, offset) in zip(desk.views, run.sources, strict=True):
                if (done := source.read_into(offset + begin, view)) < len(view):
                    raise cut_short(source, offset + begin + done)
            return
        if run is not self._streamed:
            self.close()
            length = run.elements * run.given.item_bytes
            self._streams = [InOrder(source, offset, length) for source, offset in run.sources]
            self._streamed = run
            # Only the asking is done at once. The bytes of all gather in the sockets while those
            # of one are taken from there: threads would but hand the interpreter to each other.
            for asked in [self._shared.fetches.submit(stream.begin) for stream in self._streams]:
                asked.result()
        for stream, view in zip(self._streams, desk.views, strict=True):
            stream.fill(view)

    def close(self) -> None:
        """Let go of what is read in order."""
        for stream in self._streams:
            stream.close()
        self._streams = []

    def end(self) -> None:
        """Let go of everything."""
        self.close()
        if self._clerk is not None:
            self._clerk.close()

    def _desk(self, block: _Block) -> "_Desk":
        """Lay out the buffers for a block; most blocks are of one size."""
        given, output = block.run.given, block.run.output
        found = self._desks.get((block.elements, given.name, output.name))
        if found is None:
            size_bytes = block.elements * given.item_bytes
            views = [buffer[:size_bytes] for buffer in self._buffers]
            out = self._out[: block.elements * output.item_bytes]
            on = bench([view.view(given.storage) for view in views], out.view(output.storage))
            found = _Desk([view.data for view in views], on)
            if len(self._desks) < MOST_DESKS:
                self._desks[block.elements, given.name, output.name] = found
        return found

    def _mean_of(self, given: Format, output: Format) -> MeanOfBlocks:
        found = self._means.get((given.name, output.name))
        if found is None:
            shared = self._shared
            most = shared.block_bytes // given.item_bytes
            found = mean_of_blocks(shared.weights, given, output, most, shared.kernel)
            self._means[given.name, output.name] = found
        return found


@dataclass(frozen=True)
class _Desk:
    """The buffers of one size of block, from all sides."""

    views: list[memoryview]
    """Bytes of each ingredient."""
    bench: Bench


def average(
    names: Sequence[str],
    weights: Sequence[int],
    runs: Sequence[Run],
    header: Header,
    target: Target,
    settings: MergeSettings,
    *,
    hashed: Sequence[bytes] | None = None,
    advance: Callable[[int], None] = lambda _: None,
    stop: threading.Event,
    ledger: Ledger | None = None,
) -> Averaged:
    """Write the mean of checkpoints, as a canonical file.

    Args:
        names: What messages call the checkpoints.
        weights: One for each, each >= 1.
        runs: How their tensors lie.
        header: Of the output.
        target: Where to.
        settings: How.
        hashed: To hash the checkpoints on the way: for each the bytes of its file before the first
            run. They must be canonical files, so that the runs cover the rest of them in order.
        advance: Told how many bytes of the checkpoints' tensors are done.
        stop: Ends it at the next block.
        ledger: To average by way of kept sums; the weights are its own then.

    Raises:
        Refused: A checkpoint ends too early or has a NaN or an infinity; an element is too large
            for the output (exit 46).
        Transient: A checkpoint cannot be read, or the target not be written.
        StockpotError: It was asked to end (exit 75).
    """
    shared = _Averaging(
        names, weights, runs, header, target, settings, hashed, advance, stop, ledger
    )
    others = [threading.Thread(target=shared.work) for _ in range(shared.workers - 1)]
    for other in others:
        other.start()
    try:
        shared.work()
        for other in others:
            other.join()
    except BaseException:
        shared.turns.break_off()
        for other in others:
            other.join()
        raise
    finally:
        if shared.fetches is not None:
            shared.fetches.shutdown()
    shared.finish()
    return Averaged(
        Digest(PREFIX + shared.out.hexdigest()),
        tuple(Digest(PREFIX + sha256.hexdigest()) for sha256 in shared.inputs),
        shared.largest,
    )


def _block_bytes(near: bool, count: int) -> int:
    """Choose how much of each ingredient a worker holds at once."""
    most, room = (NEAR_BLOCK_BYTES, NEAR_BYTES) if near else (FAR_BLOCK_BYTES, FAR_BYTES)
    return _share(most, room, count)


def _share(most: int, room: int, count: int) -> int:
    wanted = min(most, room // count)
    return max(LEAST_BLOCK_BYTES, wanted // LEAST_BLOCK_BYTES * LEAST_BLOCK_BYTES)


@contextmanager
def _said_of(block: _Block, names: Sequence[str]) -> Iterator[None]:
    """Say of whom it is, and where, that a number is not finite."""
    try:
        yield
    except NotFiniteError as error:
        key, index = block.run.place_of(block.first + error.element)
        raise Refused(
            f"{names[error.part]} is refused: tensor {key} has a NaN or an infinity at {index}",
            help="leave that checkpoint out, or use one from before it broke",
            exit_code=ExitCode.BAD_WEIGHTS,
        ) from None


def _refuse_too_large(block: _Block, out: Stored) -> None:
    form = FLOATS[block.run.output.name]
    wild = (out.view(form.bits) & form.magnitude) >= form.infinity
    key, index = block.run.place_of(block.first + int(np.argmax(wild)))
    raise Refused(
        f"the mean of tensor {key} at {index} is too large for {block.run.output.name}",
        help="choose another output (in a Soup: spec.merge.output): bf16 or fp32",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
