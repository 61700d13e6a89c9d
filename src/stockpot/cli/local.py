"""`stockpot local`: arguments and output. `stockpot.local.commands` does the work."""

from pathlib import Path

import click

from stockpot.cli import screen, tables
from stockpot.cli.notes import print_note
from stockpot.errors import ExitCode
from stockpot.extras import require
from stockpot.local import commands
from stockpot.local.commands import ApplyRequest
from stockpot.local.layout import Layout
from stockpot.local.session import Session

FOLDER = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".stockpot",
    show_default=True,
    envvar="STOCKPOT_DIR",
    help="Folder for objects, store, keys and logs.",
)
NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of the objects."
)
NO_WAIT = click.option(
    "--no-wait",
    is_flag=True,
    help="Only record the change; `stockpot local apply` carries it out later.",
)


@click.group()
def local() -> None:
    """Run soups on this machine, without a cluster."""


def _claims(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    del ctx, param
    claims: dict[str, Path] = {}
    for value in values:
        name, is_there, folder = value.partition("=")
        if not (name and is_there and folder):
            raise click.BadParameter(f"{value} is not of the form NAME=FOLDER")
        if claims.setdefault(name, Path(folder)) != Path(folder):
            raise click.BadParameter(f"{name} is given two folders: {claims[name]} and {folder}")
    return claims


@local.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="A manifest, a folder of manifests, or - for standard input. Without it, continues with "
    "the objects applied before.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    callback=_claims,
    metavar="NAME=FOLDER",
    help="Folder to use for a PersistentVolumeClaim; remembered for later commands.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to serve on; remembered for later commands."
)
@FOLDER
@NO_WAIT
def apply(
    files: tuple[Path, ...], claims: dict[str, Path], port: int | None, folder: Path, no_wait: bool
) -> int:
    """Apply manifests, and work until the soups match them."""
    layout = Layout(folder)
    request = ApplyRequest(files, claims, port)
    if no_wait:
        commands.apply(layout, request, tables.print_change, None, print_note)
        return ExitCode.OK
    require("workload", "stockpot local apply")
    with screen.progress_watcher() as watch:
        commands.apply(layout, request, tables.print_change, watch, print_note)
    return tables.print_verdict(Session(layout))


@local.command()
@click.argument("named", nargs=-1, required=True, metavar="KIND/NAME…")
@FOLDER
@NAMESPACE
@NO_WAIT
def delete(named: tuple[str, ...], folder: Path, namespace: str, no_wait: bool) -> int:
    """Delete shards or soups, such as shard/food, and work until they are unlearned."""
    layout = Layout(folder)
    if no_wait:
        commands.delete(layout, named, namespace, tables.print_change, None)
        return ExitCode.OK
    with screen.progress_watcher() as watch:
        commands.delete(layout, named, namespace, tables.print_change, watch)
    return tables.print_verdict(Session(layout))


@local.command()
@click.argument("kind", type=click.Choice(sorted(tables.KINDS)), default="all")
@click.option("-o", "output", type=click.Choice(["table", "yaml"]), default="table")
@FOLDER
@NAMESPACE
def get(kind: str, output: str, folder: Path, namespace: str) -> None:
    """Show soups, shards, revisions or receipts."""
    tables.print_objects(Session(Layout(folder)), kind, namespace, output)


@local.command()
@FOLDER
def plan(folder: Path) -> None:
    """Show what each shard still lacks, and the next actions. Changes nothing."""
    for text in commands.plans(Layout(folder)):
        click.echo(text, nl=False)


@local.command()
@FOLDER
def watch(folder: Path) -> None:
    """Show the progress of the process that works on the folder, until no run is active."""
    screen.follow_progress(Session(Layout(folder)))


@local.command()
@FOLDER
def down(folder: Path) -> None:
    """Stop the server and all runs; objects and store are kept."""
    stopped = commands.down(Layout(folder))
    for name in stopped:
        click.echo(f"stopped {name}")
    if not stopped:
        click.echo("nothing was running")
