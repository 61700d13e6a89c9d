"""`stockpot receipts`: lists the receipts in a store, whatever became of their namespaces."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from stockpot.api.v1alpha1 import UnlearningReceipt
from stockpot.cli.receipt_options import ENDPOINT, KEY, STORE, store_ref
from stockpot.cli.replay import object_of
from stockpot.cli.terminal import printable
from stockpot.errors import ExitCode, StockpotError
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.soups import namespaces_in, soups_in


@click.command()
@STORE
@KEY
@ENDPOINT
@click.option(
    "-n",
    "--namespace",
    default="",
    help="Only soups of this namespace. Without it every object of the store is listed.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: the content of each UnlearningReceipt.",
)
def receipts(place: str, key: Path, endpoint: str, namespace: str, output: str) -> int:
    """List the receipts in a store, whatever became of their namespaces.

    The store has every receipt, and only the operator's own identity writes there: what a tenant
    deletes on the cluster, or what goes with a namespace, is listed all the same. Each chain is
    checked. `stockpot replay` writes the objects of those that the cluster lacks.
    """
    store, public_key = open_store(store_ref(place, endpoint)), load_public_key(key)
    namespaces = (namespace,) if namespace else namespaces_in(store)
    listed: list[UnlearningReceipt] = []
    errors: list[StockpotError] = []
    for keys, uid in chains(store, namespaces):
        try:
            listed += map(object_of, check_chain(store, keys, uid, public_key))
        except StockpotError as error:
            errors.append(error)  # One bad chain hides no other.
    if output == "json":
        specs = [
            {"namespace": r.metadata.namespace, **r.spec.model_dump(mode="json", by_alias=True)}
            for r in listed
        ]
        click.echo(json.dumps(specs, indent=2))
    else:
        print_table(listed)
    for fault in errors:
        click.echo(f"error: {printable(str(fault))}", err=True)
    return int(errors[0].exit_code if errors else ExitCode.OK)


def chains(store: ObjectStore, namespaces: tuple[str, ...]) -> Iterator[tuple[Keys, str]]:
    """Yield the keys and the UID of every soup that has receipts."""
    for namespace in namespaces:
        keys = Keys(namespace)
        for uid in sorted(soups_in(store, keys)):
            yield keys, uid


HEAD = ("NAMESPACE", "SOUP", "NUMBER", "SHARD", "SCOPE", "SIGNED", "COMPLETENESS", "DIGEST")


def print_table(receipts: list[UnlearningReceipt]) -> None:
    """Print a line for each receipt."""
    rows = [HEAD]
    for receipt in receipts:
        spec = receipt.spec
        rows.append(
            (
                receipt.metadata.namespace,
                spec.soup_ref.name,
                str(spec.sequence),
                spec.shard.name,
                spec.scope.value,
                spec.signed_at or "-",
                spec.completeness.value,
                spec.digest[:19],
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(printable("  ".join(cells).rstrip()))
