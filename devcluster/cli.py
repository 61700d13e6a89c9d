"""What a person and the Makefile can ask for: `python -m devcluster --help`."""

import argparse
import sys

from devcluster import build
from devcluster.problem import Problem


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    one = verbs.add_parser("build", help="compile the cluster's programs into the cache")
    one.add_argument(
        "--control-plane", action="store_true", help="only what tests without root need"
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; say in one sentence why not."""
    asked = parser().parse_args(arguments)
    try:
        build.build(build.control_plane(), *([] if asked.control_plane else [build.runtime()]))
    except Problem as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    return 0
