"""Reads and writes UnlearningReceipts."""

from collections.abc import Mapping

from stockpot.api.v1alpha1 import (
    MOST_SURVIVING,
    Completeness,
    ObjectMeta,
    Scope,
    Soup,
    Successor,
    SurvivingShard,
    UidRef,
    UnlearningReceipt,
    UnlearningReceiptSpec,
)
from stockpot.core.actions import RecordReceipt
from stockpot.core.digests import Digest, short
from stockpot.core.recipe import ShardUID
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.revision import Revision
from stockpot.reconcile.objects.fields import instant
from stockpot.reconcile.objects.target_details import TargetDetails


def receipt_view(receipt: UnlearningReceipt) -> RecordedReceipt:
    """Return an UnlearningReceipt as the core's value."""
    spec = receipt.spec
    return RecordedReceipt(
        name=receipt.metadata.name,
        shard=ShardUID(spec.shard.uid),
        sequence=spec.sequence,
        is_complete=spec.completeness is Completeness.COMPLETE,
        digest=Digest(spec.digest),
        source=Digest(spec.source_digest) if spec.source_digest else None,
        data=Digest(spec.data_digest) if spec.data_digest else None,
        requested_at=instant(spec.requested_at) if spec.requested_at else None,
        signed_at=instant(spec.signed_at) if spec.signed_at else None,
    )


def receipt_name(soup: str, soup_uid: str, sequence: int) -> str:
    """Return the name of an UnlearningReceipt: its soup, the soup's UID, its place in the chain.

    Receipts outlive their soup, and another soup of the same name has a chain of its own.
    """
    return f"{soup}-{soup_uid[:8]}-{sequence:04d}"


def other_name(receipt: UnlearningReceipt) -> str:
    """Return the longer name of a receipt, where another object has its name."""
    return f"{receipt.metadata.name}-{short(receipt.spec.digest)}"


def is_same_receipt(left: UnlearningReceipt, right: UnlearningReceipt) -> bool:
    """Whether both record the same envelope of the same soup."""
    return (left.spec.soup_ref.uid, left.spec.digest) == (
        right.spec.soup_ref.uid,
        right.spec.digest,
    )


def new_receipt(
    did: RecordReceipt,
    details: TargetDetails,
    soup: Soup,
    store_key: str,
    current: Revision | None,
    names: Mapping[ShardUID, str],
) -> UnlearningReceipt:
    """Build the UnlearningReceipt of a receipt that was signed.

    Args:
        did: What was signed.
        details: What was unlearned.
        soup: The soup.
        store_key: Key of the signed receipt.
        current: The revision that serves now.
        names: Names of shards, by UID.
    """
    return UnlearningReceipt(
        metadata=ObjectMeta(
            name=receipt_name(soup.metadata.name, soup.metadata.uid, did.sequence),
            namespace=soup.metadata.namespace,
        ),
        spec=UnlearningReceiptSpec(
            soup_ref=UidRef(name=soup.metadata.name, uid=soup.metadata.uid),
            shard=UidRef(name=details.ref.name, uid=details.ref.uid),
            sequence=did.sequence,
            digest=did.digest,
            previous=did.previous,
            requested_at=details.requested_at,
            signed_at=did.signed_at or None,
            successor=Successor(recipe_digest=current.recipe.digest, weights_digest=current.weights)
            if current
            else None,
            store_key=store_key,
            completeness=Completeness.COMPLETE if did.is_complete else Completeness.INCOMPLETE,
            residuals=did.residuals,
            missing=did.missing[:16],
            source_digest=details.source_digest,
            data_digest=details.data_digest,
            finalizer_removed=details.is_lost and not details.is_forced,
            kept_digests=did.kept_digests,
            survives_in=tuple(
                SurvivingShard(uid=uid, name=names.get(uid, ""), records=records)
                for uid, records in did.survives_in[:MOST_SURVIVING]
            ),
            survives_in_count=did.survives_in_count,
            scope=Scope.RECORDS if details.former else Scope.SHARD,
        ),
    )
