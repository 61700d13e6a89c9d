"""`stockpot opening`: words and arguments. What an opening is says `unlearning.commitments`."""

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
    """Hand out what shows later that a receipt means certain records.

    Before they are named in excludeRecords: the receipt will name none of them, only salted
    commitments, and the purge destroys the salts. Prints one opening a line, as JSON, for whoever
    asked; `stockpot verify --opening FILE` finds the receipt. Needs to write the store; asked
    again before the purge, it prints the same.
    """
    store, keys = open_store(store_ref(place, endpoint)), Keys(namespace)
    keep_commitments(store, keys, shard_uid, records)
    for one in openings(store, keys, shard_uid):
        if one.record in records:
            click.echo(one.model_dump_json(by_alias=True))
