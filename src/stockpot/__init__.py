"""Stockpot keeps a generative image model in step with the data it is allowed to know."""

import sys

# Here, and in words that an old Python can read: every other module would fail with a riddle.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("error: Stockpot needs Python 3.11 or newer; this is %d.%d" % sys.version_info[:2])  # noqa: UP031

__version__ = "0.1.0.dev0"
