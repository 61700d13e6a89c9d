"""`stockpot verify`: arguments and output. `stockpot.unlearning.verify` has the checks."""

from pathlib import Path

import click

from stockpot.cli.averaging import Averaging
from stockpot.cli.receipt_options import ANCHOR, HEAD, store_ref, where
from stockpot.cli.terminal import console, waiting
from stockpot.cli.verdicts import print_report
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.anchors import FileAnchor
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.disclosure import read_openings
from stockpot.unlearning.verify.soups import find_soup
from stockpot.unlearning.verify.verification import VerificationInput
from stockpot.unlearning.verify.verification import verify as check_all


@click.command()
@click.argument("soup", metavar="SOUP")
@where
@HEAD
@ANCHOR
@click.option(
    "--base",
    metavar="FOLDER|PREFIX",
    help="The base, needed for a successor of LoRAs, or of the base alone: a folder, or a prefix "
    "in the store.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    help="URL of a server of the soup, to check its answers too; may be repeated.",
)
@click.option(
    "--opening",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the output of `stockpot opening`, to find the receipts that cover its records.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    soup: str,
    place: str,
    key: Path,
    endpoint: str,
    namespace: str,
    head: str | None,
    anchor: Path | None,
    base: str | None,
    urls: tuple[str, ...],
    opening: Path | None,
    as_json: bool,
) -> int:
    """Check receipts with a public key and read access to the store.

    SOUP is soup/NAME, or the UID of a deleted soup. Needs no cluster, and trusts none.
    Exits with 0 if all is proven or attested, 8 if something is not checkable, 9 if a check failed.
    """
    kept = parse_head(head) if head is not None else None
    public_key = load_public_key(key)
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    file = FileAnchor(anchor) if anchor else None
    uid = find_soup(store, keys, soup, file.soups(namespace) if file else None)
    inputs = VerificationInput(store, place, keys, uid, public_key)
    with waiting("reading and averaging"):
        report = check_all(
            inputs,
            head=kept,
            average=Averaging(store, keys, base),
            urls=urls,
            anchor=file,
            openings=read_openings(opening) if opening else (),
        )
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        print_report(report, console())
    return report.exit_code
