"""`stockpot lint`: checks manifests, and prints every mistake with its line and its fix."""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import click

from stockpot.api.options import Installed
from stockpot.api.reading import read_paths, refuse
from stockpot.cli.notes import print_note
from stockpot.core.manifest_notes import crosscheck, notes
from stockpot.extensions import installed, with_names
from stockpot.reconcile.extensions import weighting_complaints


@click.command()
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
)
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="NAME",
    help="A method, evaluator or weighting that only your images have installed.",
)
def lint(paths: tuple[Path, ...], plugins: tuple[str, ...]) -> None:
    """Check manifests, and report every mistake with its line and its fix.

    FILE is a YAML or JSON file, a folder of them, or - for standard input. Exits with 3 for
    manifests that the API server or the first training would refuse. Notes name what may be a
    mistake; they do not change the exit code.
    """
    known: Installed = with_names(installed(), plugins)
    read = read_paths(paths, known)
    wrong = [
        *read.complaints,
        *crosscheck(read.manifests),
        *weighting_complaints(read.manifests, but=plugins),
    ]
    worth_a_look = [*read.notes]
    if not wrong:
        worth_a_look += notes(read.manifests, datetime.fromtimestamp(time.time(), UTC))
    for note in worth_a_look:
        print_note(note)
    refuse(wrong)
    kinds = Counter(thing.kind for thing in read.objects)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    click.echo(f"{read.files} {'file' if read.files == 1 else 'files'}, nothing wrong: {counted}")
