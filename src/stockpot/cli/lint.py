"""`stockpot lint`: every mistake in manifests at once, each with its line and its remedy."""

from collections import Counter
from pathlib import Path

import click

from stockpot.api.reading import read_paths


@click.command()
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
def lint(paths: tuple[Path, ...]) -> None:
    """Say what is wrong with manifests, and what to write.

    FILE is a YAML file, or a folder of them. Ends with 3 if anything is wrong.
    """
    read = read_paths(paths)
    objects = read.checked()
    kinds = Counter(one.kind for one in objects)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    click.echo(f"{read.files} {'file' if read.files == 1 else 'files'}, nothing wrong: {found}")
