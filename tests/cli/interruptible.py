"""Run the command line, and stop in the middle of a merge until a signal comes.

    python -m tests.cli.interruptible hidden|unnamed ARGUMENT...

Writes a line to standard error when the first block is written. `hidden` stands in for a file
system that has no files without a name.
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
def halting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Stand in for the bar of a merge."""
    del what

    def advance(done: int, total: int) -> None:
        del done, total
        if under_way.acquire(blocking=False):
            sys.stderr.write("under way\n")
            sys.stderr.flush()
        interrupted.wait(60)

    yield advance


def interrupt(number: int, frame: FrameType | None) -> None:
    """Let go of the threads that wait, and do what the command line does."""
    del number, frame
    interrupted.set()
    raise KeyboardInterrupt


if __name__ == "__main__":
    stockpot.cli.merge.bar = halting
    stockpot.cli.main._interrupt = interrupt
    if sys.argv.pop(1) == "hidden":
        outputs._unnamed_file = lambda folder, mode: None
    stockpot.cli.main.main()
