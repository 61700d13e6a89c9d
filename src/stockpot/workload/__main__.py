"""`python -m stockpot.workload SPEC --work DIR`: what the container of every run starts.

In a container we are process 1, which the kernel spares a signal that nobody handles: so SIGTERM
is handled before anything slow is imported, or a pod that is deleted early would stay until it
is killed.
"""

import signal
import sys
import threading
from types import FrameType


def _heeding() -> threading.Event:
    """Take SIGTERM and SIGINT for a wish to end, from now on."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


if __name__ == "__main__":
    stop = _heeding()

    from stockpot.workload.main import main

    sys.exit(main(sys.argv[1:], stop))
