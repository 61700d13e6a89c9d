"""`stockpot replay`: the receipts that a store has, as the objects that a cluster lost.

Objects that come back from a backup know fewer receipts than the store. What is written here is
checked as `stockpot verify` does, and says what the envelopes say.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from stockpot.api.reading import read_lenient
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
from stockpot.cli.receipt_options import store_ref, where
from stockpot.reconcile.objects.receipt import is_same_receipt, other_name, receipt_name
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.chain import Receipt, check_chain
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.verify.soups import find_soup, soups_in


@click.command()
@click.argument("soup", metavar="[SOUP]", required=False, default="")
@click.option(
    "--missing",
    is_flag=True,
    help="Only receipts without an UnlearningReceipt on the cluster; without SOUP, of every soup "
    "that ever had one in the namespace.",
)
@click.option("--context", default="", help="With --missing: of the kubeconfig.")
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --missing: else KUBECONFIG, or ~/.kube/config.",
)
@where
def replay(
    soup: str,
    missing: bool,
    context: str,
    kubeconfig: Path | None,
    place: str,
    key: Path,
    endpoint: str,
    namespace: str,
) -> int:
    """Write receipts of the store as objects, for a cluster that lost them.

    SOUP is soup/NAME, or its UID. For objects that came back from an older backup than the store:
    until the Soup knows all of its receipts again, it serves the base. Those that are there already
    stay as they are. What is written goes to `kubectl apply -f -`.
    """
    if not soup and not missing:
        raise click.UsageError("name the SOUP, or say --missing for those of all soups")
    store, keys = open_store(store_ref(place, endpoint)), Keys(namespace)
    public_key = load_public_key(key)
    uids = [find_soup(store, keys, soup, None)] if soup else sorted(soups_in(store, keys))
    recorded = recorded_on_cluster(context, kubeconfig, namespace) if missing else ()
    chains = (check_chain(store, keys, uid, public_key) for uid in uids)
    receipts = [object_of(receipt) for chain in chains for receipt in chain]
    written = list(receipts_without_objects(receipts, recorded))
    if missing:
        click.echo(f"{len(written)} of {len(receipts)} receipts have no object", err=True)
    for receipt in written:
        told = receipt.model_dump(mode="json", by_alias=True, exclude_none=True)
        told["metadata"] = {name: told["metadata"][name] for name in ("name", "namespace")}
        click.echo("---\n" + yaml_text(told), nl=False)
    return 0


def recorded_on_cluster(
    context: str, kubeconfig: Path | None, namespace: str
) -> tuple[UnlearningReceipt, ...]:
    """Read the UnlearningReceipts of a namespace, with the person's own rights."""
    # Only this needs the extra that speaks to Kubernetes.
    from stockpot.cli.cluster import client_of  # noqa: PLC0415
    from stockpot.cluster.apiserver.resources import UNLEARNING_RECEIPTS  # noqa: PLC0415

    listing = client_of(context, kubeconfig).list(UNLEARNING_RECEIPTS, namespace)
    found = (read_lenient(thing) for thing in listing.items)
    return tuple(receipt for receipt in found if isinstance(receipt, UnlearningReceipt))


def receipts_without_objects(
    receipts: Sequence[UnlearningReceipt], recorded: Sequence[UnlearningReceipt]
) -> Iterator[UnlearningReceipt]:
    """Choose receipts that no object records; one whose name is taken gets a longer one."""
    taken = {receipt.metadata.name for receipt in recorded}
    for receipt in receipts:
        if any(is_same_receipt(receipt, there) for there in recorded):
            continue
        if receipt.metadata.name in taken:
            meta = receipt.metadata.model_copy(update={"name": other_name(receipt)})
            yield receipt.model_copy(update={"metadata": meta})
        else:
            yield receipt


def object_of(receipt: Receipt) -> UnlearningReceipt:
    """Write the object that the operator wrote when the receipt was signed."""
    said = receipt.statement.predicate
    soup, successor = said.soup, said.successor
    return UnlearningReceipt(
        metadata=ObjectMeta(
            name=receipt_name(soup.name, soup.uid, receipt.sequence), namespace=soup.namespace
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
