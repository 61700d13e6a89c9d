"""`stockpot replay`: the receipts that a store has, as the objects that a cluster lost.

Objects that come back from a backup know fewer receipts than the store. What is written here is
checked as `stockpot verify` does, and says what the envelopes say.
"""

from pathlib import Path

import click

from stockpot.api.v1alpha1 import (
    Completeness,
    ObjectMeta,
    Scope,
    Successor,
    UidRef,
    UnlearningReceipt,
    UnlearningReceiptSpec,
)
from stockpot.api.writing import yaml_text
from stockpot.cli.places import store_ref, where
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.chain import Receipt, check_chain
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.soups import find_soup


@click.command()
@click.argument("soup", metavar="SOUP")
@where
def replay(soup: str, place: str, key: Path, endpoint: str, namespace: str) -> int:
    """Write a soup's receipts as objects, for a cluster that lost them.

    SOUP is soup/NAME, or its UID. For objects that came back from an older backup than the store:
    until the Soup knows all of its receipts again, it serves the base. Those that are there already
    stay as they are.
    """
    store, keys = open_store(store_ref(place, endpoint)), Keys(namespace)
    uid = find_soup(store, keys, soup, None)
    chain = check_chain(store, keys, uid, load_public_key(key))
    for receipt in chain:
        told = object_of(receipt).model_dump(mode="json", by_alias=True, exclude_none=True)
        told["metadata"] = {name: told["metadata"][name] for name in ("name", "namespace")}
        click.echo("---\n" + yaml_text(told), nl=False)
    return 0


def object_of(receipt: Receipt) -> UnlearningReceipt:
    """Write the object that the operator wrote when the receipt was signed."""
    said = receipt.statement.predicate
    soup, successor = said.soup, said.successor
    return UnlearningReceipt(
        metadata=ObjectMeta(
            name=f"{soup.name}-{soup.uid[:4]}-{receipt.sequence:04d}", namespace=soup.namespace
        ),
        spec=UnlearningReceiptSpec(
            soup_ref=UidRef(name=soup.name, uid=soup.uid),
            shard=UidRef(name=said.shard.name, uid=said.shard.uid),
            scope=Scope(said.scope),
            sequence=receipt.sequence,
            digest=receipt.digest,
            previous=said.previous,
            requested_at=said.requested_at,
            signed_at=said.signed_at,
            successor=Successor(
                recipe_digest=successor.recipe_digest, weights_digest=successor.weights_digest
            )
            if successor
            else None,
            store_key=receipt.key,
            completeness=Completeness(said.completeness),
            residuals=said.purge.residuals,
            missing=tuple(one[:256] for one in said.missing[:16]),
            data_digest=said.data_digest,
            finalizer_removed=said.finalizer_removed,
        ),
    )
