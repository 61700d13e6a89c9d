"""Run the command line, and pause in the middle of a merge until a signal arrives.

    python -m tests.cli.interruptible hidden|unnamed ARGUMENT...

Writes a line to standard error when the first block is written. `hidden` simulates a file
system without unnamed temporary files.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import stockpot.cli.main
import stockpot.cli.merge
from stockpot.store import outputs

under_way = threading.Lock()
interrupted = threading.Event()


@contextmanager
def pausing_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Replace the progress bar of a merge; pause at the first block."""
    del what

    def advance(done: int, total: int) -> None:
        del done, total
        if under_way.acquire(blocking=False):
            sys.stderr.write("under way\n")
            sys.stderr.flush()
        interrupted.wait(60)

    yield advance


def interrupt(number: int, frame: FrameType | None) -> None:
    """Release the waiting threads, then do what the command line does."""
    del number, frame
    interrupted.set()
    raise KeyboardInterrupt


if __name__ == "__main__":
    stockpot.cli.merge.bar = pausing_bar
    stockpot.cli.main._interrupt = interrupt
    if sys.argv.pop(1) == "hidden":
        outputs._unnamed_file = lambda folder, mode: None
    stockpot.cli.main.main()
