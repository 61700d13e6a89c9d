"""The operator's process. This version has none: it says so, and does nothing by halves."""

import sys

from stockpot import __version__
from stockpot.errors import ExitCode


def main() -> None:
    """Say that this version works without a cluster only, and end.

    Raises:
        SystemExit: Always, with USAGE.
    """
    sys.stderr.write(
        f"error: Stockpot {__version__} has no operator yet: it works in local mode only\n"
        "  help: stockpot local apply -f examples/emoji/\n"
    )
    sys.exit(ExitCode.USAGE)


if __name__ == "__main__":
    main()
