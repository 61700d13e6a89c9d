"""`stockpot local`: words and arguments. What is done is in `stockpot.local.commands`."""

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
    help="The folder that everything is kept in.",
)
NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Where the objects are."
)
NO_WAIT = click.option(
    "--no-wait", is_flag=True, help="Only write it down; `stockpot local apply` carries it out."
)


@click.group()
def local() -> None:
    """Run soups on this machine, without a cluster."""


def _claims(ctx: click.Context, param: click.Parameter, said: tuple[str, ...]) -> dict[str, Path]:
    del ctx, param
    claims: dict[str, Path] = {}
    for one in said:
        name, is_there, folder = one.partition("=")
        if not (name and is_there and folder):
            raise click.BadParameter(f"{one} is not NAME=FOLDER")
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
    help="A manifest, a folder of manifests, or - for stdin. Without it, work goes on as applied.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    callback=_claims,
    metavar="NAME=FOLDER",
    help="The folder to use for a PersistentVolumeClaim; remembered.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port to serve on; remembered.")
@FOLDER
@NO_WAIT
def apply(
    files: tuple[Path, ...], claims: dict[str, Path], port: int | None, folder: Path, no_wait: bool
) -> int:
    """Apply manifests, and work until the soups are as they ask."""
    layout = Layout(folder)
    asked = ApplyRequest(files, claims, port)
    if no_wait:
        commands.apply(layout, asked, tables.print_change, None, print_note)
        return ExitCode.OK
    require("workload", "stockpot local apply")
    with screen.watching() as watch:
        commands.apply(layout, asked, tables.print_change, watch, print_note)
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
    with screen.watching() as watch:
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
    """Show what each shard lacks, and what comes next. Changes nothing."""
    for text in commands.plans(Layout(folder)):
        click.echo(text, nl=False)


@local.command()
@FOLDER
def watch(folder: Path) -> None:
    """Show the progress of another process that works on the folder, until it ends."""
    screen.look_on(Session(Layout(folder)))


@local.command()
@FOLDER
def down(folder: Path) -> None:
    """End the server and all runs; objects and store stay."""
    ended = commands.down(Layout(folder))
    for name in ended:
        click.echo(f"ended {name}")
    if not ended:
        click.echo("nothing was running")
