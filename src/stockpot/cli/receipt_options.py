"""Where receipts lie, as a person says it: the options that `verify` and `audit` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Refused

STORE = click.option(
    "--store",
    "place",
    required=True,
    metavar="FOLDER|URL",
    help="The object store: a folder, file:///folder, or s3://bucket/prefix.",
)
ENDPOINT = click.option(
    "--endpoint",
    default="",
    help="For S3: https://host. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.",
)
NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Of the soup."
)
KEY = click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The public key that receipts are checked with.",
)
HEAD = click.option(
    "--head",
    metavar="[NUMBER:]DIGEST",
    help="The last entry of the chain as you kept it, or as Soup's status.receipts has it. Without "
    "it or --anchor nobody can say that the chain is complete.",
)
ANCHOR = click.option(
    "--anchor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file that `stockpot anchor` keeps heads of the chain in.",
)


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where to look."""
    for option in (NAMESPACE, ENDPOINT, KEY, STORE):
        command = option(command)
    return command


def store_ref(place: str, endpoint: str) -> StoreRef:
    """Read `--store` and `--endpoint`.

    Raises:
        Refused: A folder is named that is not there (exit 2).
    """
    if "://" in place:
        return StoreRef(url=place, endpoint=endpoint)
    folder = Path(place).resolve()
    if not folder.is_dir():
        raise Refused(
            f"there is no folder {place}",
            help="name the store's folder, as .stockpot/store, or s3://bucket/prefix",
            exit_code=ExitCode.USAGE,
        )
    return StoreRef(url=folder.as_uri())
