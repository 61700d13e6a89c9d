"""`stockpot keygen`: writes a new key pair for signing receipts."""

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
    help="File to write the private key to; it must not exist.",
)
def keygen(out: Path) -> None:
    """Create a key pair for signing receipts.

    Writes an Ed25519 private key (PKCS #8 in PEM) to FILE, and the public key to FILE.pub. To
    replace a key that has signed receipts, continue with `stockpot rotate`.
    """
    click.echo(os.fsencode(make_key(out)))
