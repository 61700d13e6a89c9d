"""Options that the commands on receipts share: store, namespace, public key, head of the chain."""

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
    help="S3 endpoint: https://host. Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.",
)
NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of the soup."
)
KEY = click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the public key that receipts are checked with.",
)
HEAD = click.option(
    "--head",
    metavar="[NUMBER:]DIGEST",
    help="Last entry of the chain: as you recorded it, or as in the Soup's status.receipts. "
    "Without --head or --anchor it is not checkable that the chain is complete.",
)
ANCHOR = click.option(
    "--anchor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File in which `stockpot anchor` records heads of the chain.",
)


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for store, endpoint, namespace and public key to a command."""
    for option in (NAMESPACE, ENDPOINT, KEY, STORE):
        command = option(command)
    return command


def store_ref(place: str, endpoint: str) -> StoreRef:
    """Return the store that `--store` and `--endpoint` name.

    Raises:
        Refused: The folder does not exist (exit 2).
    """
    if "://" in place:
        return StoreRef(url=place, endpoint=endpoint)
    folder = Path(place).resolve()
    if not folder.is_dir():
        raise Refused(
            f"the store's folder {place} does not exist",
            help="pass an existing folder, as .stockpot/store, or s3://bucket/prefix",
            exit_code=ExitCode.USAGE,
        )
    return StoreRef(url=folder.as_uri())
