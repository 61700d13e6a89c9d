"""`stockpot run`: executes one RunSpec in this process, as a pod does."""

import importlib
import os
import sys
from pathlib import Path

import click

from stockpot.cli.terminal import has_colour


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--work", required=True, type=click.Path(path_type=Path), help="Folder for temporary files."
)
@click.option(
    "--result",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write the RunResult to.",
)
def run(spec: Path, work: Path, result: Path) -> int:
    """Execute one RunSpec, as a pod does.

    SPEC is a RunSpec as JSON: train, merge, evaluate, serve, purge or sign.
    """
    if not has_colour(sys.stdout):
        os.environ["NO_COLOR"] = "1"  # The log module reads it when it is imported.
    # Imported by name, so that no import leads from the command line to torch: only this
    # process becomes a workload.
    workload = importlib.import_module("stockpot.workload.main")
    code = workload.run(spec, work, result)
    assert isinstance(code, int)
    return code
