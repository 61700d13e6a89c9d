"""Stop on SIGTERM and SIGINT: set an event, and end the work where it loses nothing.

Imports nothing slow: a container's first process handles SIGTERM before it loads torch.
"""

import signal
import threading
from types import FrameType

from stockpot.errors import ExitCode, StockpotError


def stop_on_signals(stop: threading.Event | None = None) -> threading.Event:
    """Set an event on SIGTERM and SIGINT from now on, and return it.

    Args:
        stop: The event; None makes one.
    """
    event = stop or threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        event.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return event


def raise_if_stopping(
    stop: threading.Event,
    message: str = "Ended when asked to, with nothing to save.",
    *,
    help: str = "Run it again.",  # noqa: A002
) -> None:
    """Raise if the process was asked to stop.

    Args:
        stop: Set by SIGTERM and SIGINT.
        message: What ended, and what was kept.
        help: What a new run does.

    Raises:
        StockpotError: (INTERRUPTED) `stop` is set.
    """
    if stop.is_set():
        raise StockpotError(message, help=help, exit_code=ExitCode.INTERRUPTED)
