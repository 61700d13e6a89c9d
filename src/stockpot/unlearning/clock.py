"""The time as records have it. The only module of this package that reads a clock."""

import time


def now() -> str:
    """Return the time of this machine's clock as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
