"""The merge engine: reads checkpoints, averages, hashes and writes them block by block.

Workers take blocks in order, each with buffers of its own. They wait for each other only at the
hashes, which blocks pass in order. So memory does not grow with the model, a second core is used
without a second copy, and the bytes are the same for any number of workers.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stockpot.core.digests import PREFIX, Digest
from stockpot.merging.block_worker import BlockWorker
from stockpot.merging.interfaces import MergeSettings, SumsHook, Target
from stockpot.merging.layout import TensorRun
from stockpot.merging.merge_state import MergeState
from stockpot.merging.schedule import AbortedError
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.safetensors import Header


@dataclass(frozen=True)
class WrittenMean:
    """What is known of the mean when it is written."""

    digest: Digest
    """The weights digest: the SHA-256 of the output."""
    inputs: tuple[Digest, ...]
    """The SHA-256 of each checkpoint's file; empty if they were not requested."""
    largest: int
    """The largest magnitude of the output, as bits; meaningful if it has a single type."""


def average(
    names: Sequence[str],
    weights: Sequence[int],
    runs: Sequence[TensorRun],
    header: Header,
    target: Target,
    settings: MergeSettings,
    *,
    hashed: Sequence[bytes] | None = None,
    advance: Callable[[int], None] = lambda _: None,
    stop: threading.Event,
    sums_hook: SumsHook | None = None,
) -> WrittenMean:
    """Write the mean of checkpoints as a canonical file.

    Args:
        names: What messages call the checkpoints.
        weights: One for each checkpoint, each >= 1.
        runs: How their tensors lie.
        header: The header of the output.
        target: Where the output is written.
        settings: How to work.
        hashed: The bytes of each checkpoint's file before the first run. If given, the checkpoints
            are hashed while they are read. They must be canonical files, so that the runs cover the
            rest of each file in order.
        advance: Called with the number of bytes of the checkpoints' tensors that are done.
        stop: Ends the merge at the next block.
        sums_hook: Averages by way of kept sums, with weights of its own.

    Raises:
        Refused: A checkpoint ends too early or has a NaN or an infinity; an element is too large
            for the output (exit 46).
        Transient: A checkpoint cannot be read, or the target not be written.
        StockpotError: The merge was stopped (exit 75).
    """
    state = MergeState(names, weights, runs, header, target, settings, hashed, advance, sums_hook)
    others = [threading.Thread(target=_work, args=(state, stop)) for _ in range(state.workers - 1)]
    for other in others:
        other.start()
    try:
        _work(state, stop)
        for other in others:
            other.join()
    except BaseException:
        state.order.abort()
        for other in others:
            other.join()
        raise
    finally:
        if state.requests is not None:
            state.requests.shutdown()
    state.raise_first_failure()
    return WrittenMean(
        Digest(PREFIX + state.out.hexdigest()),
        tuple(Digest(PREFIX + sha256.hexdigest()) for sha256 in state.inputs),
        state.largest,
    )


def _work(state: MergeState, stop: threading.Event) -> None:
    """Average blocks until none is left."""
    worker, number = BlockWorker(state), -1
    try:
        while not state.order.aborted and (block := state.next_block()) is not None:
            number = block.number
            raise_if_stopping(
                stop,
                "The merge ended when asked to; nothing was published.",
                help="Run it again: it starts from the beginning.",
            )
            worker.average(block)
    except AbortedError:
        return
    except BaseException as error:  # Raised again by the thread that waits for all.
        state.fail(number, error)
    finally:
        worker.close()
