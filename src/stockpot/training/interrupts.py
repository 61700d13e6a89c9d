"""How a run that was asked to end does so: at the next place where nothing is lost."""

import threading

from stockpot.errors import ExitCode, StockpotError


def stop_here(stop: threading.Event, saved: str = "") -> None:
    """End the run here if it was asked to end.

    Args:
        stop: Set by SIGTERM.
        saved: What was saved, for the message: `step 40 of 150`.

    Raises:
        StockpotError: (INTERRUPTED) It was.
    """
    if stop.is_set():
        raise StockpotError(
            f"Ended when asked to, {f'after saving {saved}' if saved else 'with nothing to save'}.",
            help="Run it again: it goes on from what was saved.",
            exit_code=ExitCode.INTERRUPTED,
        )
