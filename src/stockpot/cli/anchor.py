"""`stockpot anchor`: arguments and output. `stockpot.unlearning.anchors` has the file format."""

from pathlib import Path

import click

from stockpot.cli.outputs import APPENDED
from stockpot.cli.receipt_options import store_ref, where
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.anchors import AnchoredHead, FileAnchor, contradiction
from stockpot.unlearning.chain import read_chain
from stockpot.unlearning.clock import now
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.soups import find_soup


@click.command()
@click.argument("soup", metavar="SOUP")
@where
@click.option(
    "--to",
    "path",
    required=True,
    type=APPENDED,
    help="File to append the head to. Keep it where the store's administrators cannot write.",
)
def anchor(soup: str, place: str, key: Path, endpoint: str, namespace: str, path: Path) -> None:
    """Record the head of a soup's receipt chain in a file outside the store.

    Checks the signatures and the order of the chain, and that it continues from the heads in the
    file; then appends the chain's head, unless the file has it. `stockpot verify --anchor` compares
    a chain with the file. Meant for an auditor's cron job: needs no cluster, and only reads the
    store. Exits with 9 if the chain was cut off, rolled back or forked.
    """
    public_key = load_public_key(key)
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    file = FileAnchor(path)
    uid = find_soup(store, keys, soup, file.soups(namespace) if path.exists() else None)
    reading = read_chain(store, keys, uid, public_key)
    chain = reading.require_sound()
    if path.exists():
        kept = file.read(namespace, uid)
        if why := contradiction(
            kept, [(entry.sequence, str(entry.digest)) for entry in reading.entries]
        ):
            raise Refused(
                f"the receipts of {soup} contradict the heads in {path}: {why}",
                help="nothing was appended; ask the store's administrators about its receipts",
                exit_code=ExitCode.DISPROVEN,
            )
        if any(head.sequence == chain.last for head in kept.heads):
            click.echo(f"{chain.last}:{chain.head} is anchored already")
            return
    assert chain.head is not None
    head = AnchoredHead(
        namespace=namespace,
        soup=uid,
        name=chain.receipts[-1].statement.predicate.soup.name if chain.receipts else "",
        sequence=chain.last,
        digest=chain.head,
        at=now(),
    )
    file.append(head)
    click.echo(f"{chain.last}:{chain.head} anchored")
