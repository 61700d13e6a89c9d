"""`stockpot replay`: prints a store's receipts as UnlearningReceipt manifests.

Objects that were restored from a backup know fewer receipts than the store. The chain is checked
as by `stockpot verify`, and the manifests have the content of the signed envelopes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import (
    MOST_SURVIVING,
    Completeness,
    ObjectMeta,
    Scope,
    Successor,
    SurvivingShard,
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
    help="Only receipts without an UnlearningReceipt on the cluster. Without SOUP: of every soup "
    "that ever had a receipt in the namespace.",
)
@click.option("--context", default="", help="With --missing: context of the kubeconfig.")
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --missing. Default: KUBECONFIG, or ~/.kube/config.",
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
    """Print a store's receipts as manifests, to restore them on a cluster.

    SOUP is soup/NAME, or its UID. For a cluster whose objects were restored from a backup older
    than the store: a Soup serves the base until it knows all its receipts again. Pipe the output to
    `kubectl apply -f -`; objects that exist already are not changed.
    """
    if not soup and not missing:
        raise click.UsageError("pass SOUP, or --missing for the receipts of all soups")
    store, keys = open_store(store_ref(place, endpoint), namespace), Keys(namespace)
    public_key = load_public_key(key)
    uids = [find_soup(store, keys, soup, None)] if soup else sorted(soups_in(store, keys))
    recorded = recorded_on_cluster(context, kubeconfig, namespace) if missing else ()
    chains = (check_chain(store, keys, uid, public_key) for uid in uids)
    receipts = [object_of(receipt) for chain in chains for receipt in chain]
    written = list(receipts_without_objects(receipts, recorded))
    if missing:
        click.echo(f"{len(written)} of {len(receipts)} receipts have no object", err=True)
    for receipt in written:
        manifest = receipt.model_dump(mode="json", by_alias=True, exclude_none=True)
        manifest["metadata"] = {name: manifest["metadata"][name] for name in ("name", "namespace")}
        click.echo("---\n" + yaml_text(manifest), nl=False)
    return 0


def recorded_on_cluster(
    context: str, kubeconfig: Path | None, namespace: str
) -> tuple[UnlearningReceipt, ...]:
    """Read the UnlearningReceipts of a namespace, with the user's own permissions."""
    # Imported late: only --missing needs the extra for Kubernetes.
    from stockpot.cli.cluster import client_of  # noqa: PLC0415
    from stockpot.cluster.apiserver.resources import UNLEARNING_RECEIPTS  # noqa: PLC0415

    listing = client_of(context, kubeconfig).list(UNLEARNING_RECEIPTS, namespace)
    objects = (read_lenient(item) for item in listing.items)
    return tuple(receipt for receipt in objects if isinstance(receipt, UnlearningReceipt))


def receipts_without_objects(
    receipts: Sequence[UnlearningReceipt], recorded: Sequence[UnlearningReceipt]
) -> Iterator[UnlearningReceipt]:
    """Yield the receipts that no object records, with a longer name where theirs is taken."""
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
    """Return the object that the operator wrote when the receipt was signed."""
    predicate = receipt.statement.predicate
    soup, successor = predicate.soup, predicate.successor
    return UnlearningReceipt(
        metadata=ObjectMeta(
            name=receipt_name(soup.name, soup.uid, receipt.sequence), namespace=soup.namespace
        ),
        spec=UnlearningReceiptSpec(
            soup_ref=UidRef(name=soup.name, uid=soup.uid),
            shard=UidRef(name=predicate.shard.name, uid=predicate.shard.uid),
            scope=Scope(predicate.scope),
            sequence=receipt.sequence,
            digest=receipt.digest,
            previous=predicate.previous,
            requested_at=predicate.requested_at,
            signed_at=predicate.signed_at,
            successor=Successor(
                recipe_digest=successor.recipe_digest, weights_digest=successor.weights_digest
            )
            if successor
            else None,
            store_key=receipt.key,
            completeness=Completeness(predicate.completeness),
            residuals=predicate.purge.residuals,
            missing=tuple(reason[:256] for reason in predicate.missing[:16]),
            data_digest=predicate.data_digest,
            kept_digests=predicate.kept_digests,
            survives_in=tuple(
                SurvivingShard(uid=each.shard, name=each.name, records=each.records)
                for each in sorted(predicate.survives_in, key=lambda each: -each.records)[
                    :MOST_SURVIVING
                ]
            ),
            survives_in_count=len(predicate.survives_in),
            finalizer_removed=predicate.finalizer_removed,
        ),
    )
