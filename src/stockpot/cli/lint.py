"""`stockpot lint`: every mistake in manifests at once, each with its line and its remedy."""

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
    help="A method, evaluator or weighting that your images have, and this machine has not.",
)
def lint(paths: tuple[Path, ...], plugins: tuple[str, ...]) -> None:
    """Say what is wrong with manifests, and what to write.

    FILE is a YAML or JSON file, a folder of them, or - for the standard input. What cannot work
    ends with 3: what the API server would refuse, and what the first training would. What is worth
    a look is a note.
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
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    click.echo(f"{read.files} {'file' if read.files == 1 else 'files'}, nothing wrong: {found}")
