"""`stockpot check`: everything that is wrong with a base, before a cluster meets it."""

import json
import sys
from pathlib import Path

import click
from rich.table import Table

from stockpot.cli.terminal import console, is_terminal
from stockpot.errors import ExitCode
from stockpot.merging.checkpoints import bucket_store
from stockpot.store.base import shown_names
from stockpot.store.base_files import BaseFiles, FolderFiles, StoredFiles
from stockpot.store.base_rules import CheckedBase, check_base
from stockpot.store.sources import require_folder

WIDE = 400


@click.group()
def check() -> None:
    """Check what a Soup is made from, and name every fault at once."""


@check.command()
@click.argument("where", metavar="FOLDER|s3://BUCKET/PREFIX")
@click.option("--variant", default="", metavar="NAME", help="The variant of its weights, as fp16.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def base(where: str, variant: str, as_json: bool) -> int:
    """Check a base: a diffusers pipeline folder, also in a Hugging Face cache, or in a bucket.

    Nothing is fetched but configurations and the headers of weights. These are the rules by which
    runs admit a base. Buckets are read with AWS_ENDPOINT_URL and the usual credentials. Exits with
    45 if anything is wrong.
    """
    checked = check_base(_files(where), variant)
    if as_json:
        click.echo(json.dumps(_document(checked), indent=2))
    else:
        _print(checked)
    return ExitCode.BAD_BASE if checked.faults else ExitCode.OK


def _files(where: str) -> BaseFiles:
    if where.startswith("s3://"):
        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        return StoredFiles.of(bucket_store(bucket), prefix)
    return FolderFiles.of(require_folder(Path(where), exit_code=ExitCode.BAD_BASE))


def _document(checked: CheckedBase) -> dict[str, object]:
    return {
        "pipeline": checked.pipeline,
        "files": len(checked.files),
        "ignored": {why.value: list(names) for why, names in checked.ignored.items()},
        "faults": [
            {"rule": fault.rule, "file": fault.file, "message": fault.message, "help": fault.help}
            for fault in checked.faults
        ],
    }


def _print(checked: CheckedBase) -> None:
    if checked.faults:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("RULE", "FILE", "WHAT", "WHAT TO DO"):
            table.add_column(column, overflow="fold", no_wrap=column == "RULE")
        for fault in checked.faults:
            table.add_row(fault.rule, fault.file, fault.message, fault.help)
        # In a pipe, sentences are not wrapped: programs search for them.
        console(width=None if is_terminal(sys.stdout) else WIDE, highlight=False).print(table)
    for why, names in checked.ignored.items():
        click.echo(f"not used: {len(names)} {why}: {shown_names(names)}")
    count = len(checked.faults)
    verdict = f"{count} {'fault' if count == 1 else 'faults'}" if count else "nothing wrong"
    click.echo(f"{checked.pipeline or 'no pipeline'}, {len(checked.files)} files used: {verdict}")
