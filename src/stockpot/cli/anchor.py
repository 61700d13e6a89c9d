"""`stockpot anchor`: words and arguments. What an anchor is says `stockpot.unlearning.anchors`."""

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
    help="The file to add the head to, where whoever runs the store cannot write.",
)
def anchor(soup: str, place: str, key: Path, endpoint: str, namespace: str, path: Path) -> None:
    """Keep where a soup's receipts end, outside of its store.

    Checks the chain's signatures and order, and that it goes on from what is kept there; then adds
    its head, unless it is there. `stockpot verify --anchor` compares. For a cron job of whoever
    audits: it needs no cluster, and only reads the store. Ends with 9 if the chain was cut off,
    rolled back or forked.
    """
    public_key = load_public_key(key)
    store, keys = open_store(store_ref(place, endpoint)), Keys(namespace)
    file = FileAnchor(path)
    uid = find_soup(store, keys, soup, file.soups(namespace) if path.exists() else None)
    found = read_chain(store, keys, uid, public_key)
    chain = found.require_sound()
    if path.exists():
        kept = file.read(namespace, uid)
        if why := contradiction(
            kept, [(entry.sequence, str(entry.digest)) for entry in found.entries]
        ):
            raise Refused(
                f"the receipts of {soup} are not those whose heads {path} has: {why}",
                help="ask whoever runs the store; nothing was added",
                exit_code=ExitCode.DISPROVEN,
            )
        if any(one.sequence == chain.last for one in kept.heads):
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
