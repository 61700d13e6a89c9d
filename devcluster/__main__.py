"""`python -m devcluster`: says first whether this Python is new enough to read the rest."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older one must be able to say so
    sys.exit(
        "error: the built-in cluster needs Python 3.11 or newer; this one is %d.%d\n"  # noqa: UP031
        "  help: name another: make PYTHON=/usr/bin/python3.11" % sys.version_info[:2]
    )

from devcluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
