"""Asking again: what may work a moment later is asked for again, a bounded number of times."""

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Answer = TypeVar("Answer")

WAITS_S = (0.05, 0.25, 1.0, 2.0, 4.0, 8.0)
"""Between one try and the next: long enough for a server that restarts, and well below the 30
seconds after which a pod that was told to end is killed."""
LONGEST_S = 30.0
"""No try is begun later than this after the first: one alone may wait a minute for an answer."""


def patiently(
    ask: Callable[[], Answer],
    may_pass: Callable[[Exception], bool],
    waits_s: Sequence[float] = WAITS_S,
) -> Answer:
    """Ask, and ask again while what goes wrong may pass.

    Args:
        ask: May be called more than once, from the start each time.
        may_pass: Whether the same again may work.
        waits_s: How long to wait before each further try; up to half as long again is added, so
            that many who were cut off at once do not come back at once.

    Returns:
        The first answer.
    """
    began_s = time.monotonic()
    for wait_s in waits_s:
        try:
            return ask()
        except Exception as error:
            if not may_pass(error) or time.monotonic() - began_s + wait_s > LONGEST_S:
                raise
        time.sleep(wait_s * random.uniform(1, 1.5))  # noqa: S311
    return ask()
