"""`stockpot keygen`: a key to sign receipts with."""

import os
from pathlib import Path

import click

from stockpot.cli.outputs import OUTPUT
from stockpot.unlearning.keys import keygen as make_key


@click.command()
@click.option(
    "--out",
    required=True,
    type=OUTPUT,
    help="Where to write the private key; nothing may be there yet.",
)
def keygen(out: Path) -> None:
    """Make a key to sign receipts with.

    Writes an Ed25519 key (PKCS #8 in PEM), and its public half beside it as FILE.pub. To go on with
    it where another key has signed: stockpot rotate.
    """
    click.echo(os.fsencode(make_key(out)))
