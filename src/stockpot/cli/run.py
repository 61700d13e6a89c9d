"""`stockpot run`: one RunSpec, in this process, as a pod does it."""

import importlib
import os
import sys
from pathlib import Path

import click

from stockpot.cli.terminal import has_colour


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="A scratch folder.")
@click.option("--result", required=True, type=click.Path(path_type=Path), help="For the RunResult.")
def run(spec: Path, work: Path, result: Path) -> int:
    """Carry out one RunSpec, as a pod does.

    SPEC is a RunSpec as JSON: train, merge, evaluate, serve, purge or sign.
    """
    if not has_colour(sys.stdout):
        os.environ["NO_COLOR"] = "1"  # The log reads it when it is loaded.
    # By name, so that no import leads from the terminal to torch: a process that runs a verb
    # becomes a workload, and the imports of the two have nothing in common.
    workload = importlib.import_module("stockpot.workload.main")
    code = workload.run(spec, work, result)
    assert isinstance(code, int)
    return code
