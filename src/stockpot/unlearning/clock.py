"""When things were done, as records say it. The one place here that looks at a clock."""

import time


def now() -> str:
    """The time by this machine's clock, as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
