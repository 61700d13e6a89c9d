"""Retries: repeats a request that may succeed a moment later, a bounded number of times."""

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Response = TypeVar("Response")

WAITS_S = (0.05, 0.25, 1.0, 2.0, 4.0, 8.0)
"""Waits between tries: together long enough for a server that restarts, and well below the 30
seconds after which a terminating pod is killed."""
LONGEST_S = 30.0
"""No try begins later than this after the first, for a single try may wait a minute."""


def with_retries(
    request: Callable[[], Response],
    is_transient: Callable[[Exception], bool],
    waits_s: Sequence[float] = WAITS_S,
) -> Response:
    """Call a request, and retry it while its errors are transient.

    Args:
        request: Must be repeatable from its start.
        is_transient: Whether a retry may succeed after this error.
        waits_s: How long to wait before each retry; up to half as long is added at random, so that
            many clients that were cut off at once do not return at once.

    Returns:
        The first response.
    """
    began_s = time.monotonic()
    for wait_s in waits_s:
        try:
            return request()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - began_s + wait_s > LONGEST_S:
                raise
        time.sleep(wait_s * random.uniform(1, 1.5))  # noqa: S311
    return request()
