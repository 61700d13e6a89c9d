"""`stockpot opening`: arguments and output. `stockpot.unlearning.commitments` makes openings."""

import click

from stockpot.cli.receipt_options import ENDPOINT, NAMESPACE, STORE, store_ref
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.commitments import keep_commitments, openings


@click.command()
@click.argument("shard_uid", metavar="SHARD_UID")
@click.argument("records", nargs=-1, required=True, metavar="RECORD…")
@STORE
@ENDPOINT
@NAMESPACE
def opening(
    shard_uid: str, records: tuple[str, ...], place: str, endpoint: str, namespace: str
) -> None:
    """Print openings: the later proof that a receipt covers certain records.

    Run it before the records are named in excludeRecords: the receipt names no record, only a
    salted commitment to each, and the purge destroys the salts. Prints one opening a line, as JSON,
    to give to the person who asked for the removal; `stockpot verify --opening FILE` then finds the
    receipt. Needs write access to the store. Run again before the purge, it prints the same.
    """
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    keep_commitments(store, keys, shard_uid, records)
    for opened in openings(store, keys, shard_uid):
        if opened.record in records:
            click.echo(opened.model_dump_json(by_alias=True))
