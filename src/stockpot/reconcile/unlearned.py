"""How objects say what was unlearned: receipts, and shards that have no object any more. Pure."""

from datetime import datetime

from stockpot.api.v1alpha1 import (
    MOST_LOST,
    Collection,
    Completeness,
    DataShard,
    LostShard,
    ObjectMeta,
    ReceiptChain,
    Scope,
    ShardUnlearning,
    Soup,
    Successor,
    UidRef,
    UnlearningReceipt,
    UnlearningReceiptSpec,
)
from stockpot.core.actions import RecordReceipt, RecordRescan
from stockpot.core.digests import Digest, short
from stockpot.core.world import Revision, Shard
from stockpot.reconcile.edits import (
    EditShard,
    EditSoup,
    change_shard_status,
    change_soup_status,
    timestamp,
)
from stockpot.reconcile.gone import TargetDetails

MOST_UNRECORDED = 16
"""Receipts without an object that a Soup's status names; the next look names others."""


def note_lost(shard: Shard, training_keys: tuple[Digest, ...], now: datetime) -> EditSoup:
    """Write down in the Soup what a lost shard has no object for: that it is to be unlearned."""

    def edit(soup: Soup) -> Soup:
        if any(one.uid == shard.uid for one in soup.status.lost):
            return soup
        note = LostShard(
            name=shard.name,
            uid=shard.uid,
            training_keys=training_keys[:16],
            source_digest=shard.source,
            data_digest=shard.data,
            is_forced=shard.is_forced,
            unlearning=ShardUnlearning(
                requested_at=timestamp(shard.requested_at or now), stage="Tombstoned"
            ),
        )
        return change_soup_status(soup, lost=(*soup.status.lost, note)[:MOST_LOST])

    return edit


def drop_lost(uid: str) -> EditSoup:
    """Say no more of a lost shard: its receipt does."""
    return lambda soup: change_soup_status(
        soup, lost=tuple(o for o in soup.status.lost if o.uid != uid)
    )


def with_receipt(did: RecordReceipt) -> EditSoup:
    """Write down the head of the chain of receipts."""

    def edit(soup: Soup) -> Soup:
        if soup.status.receipts.count >= did.sequence:
            return soup
        return change_soup_status(soup, receipts=ReceiptChain(count=did.sequence, head=did.digest))

    return edit


def with_collection(did: RecordRescan, now: datetime) -> EditSoup:
    """Write down that it was looked for what came back, once for each look."""

    def edit(soup: Soup) -> Soup:
        before = soup.status.collection
        if before and before.number >= did.number:
            return soup
        return change_soup_status(
            soup,
            collection=Collection(
                number=did.number,
                at=timestamp(now),
                quiet=0 if did.removed or before is None else before.quiet + 1,
                removed_objects=did.removed + (before.removed_objects if before else 0),
                unrecorded_receipts=did.unrecorded[:MOST_UNRECORDED],
            ),
        )

    return edit


def receipt_name(soup: str, soup_uid: str, sequence: int) -> str:
    """Name an UnlearningReceipt: by its soup, the soup's UID and its place in the chain.

    Receipts outlive their soup, and another soup of the same name has a chain of its own.
    """
    return f"{soup}-{soup_uid[:8]}-{sequence:04d}"


def other_name(receipt: UnlearningReceipt) -> str:
    """Name a receipt where another one has the name that it should have."""
    return f"{receipt.metadata.name}-{short(receipt.spec.digest)}"


def is_same_receipt(left: UnlearningReceipt, right: UnlearningReceipt) -> bool:
    """Whether both record the same envelope of the same soup."""
    return (left.spec.soup_ref.uid, left.spec.digest) == (
        right.spec.soup_ref.uid,
        right.spec.digest,
    )


def new_receipt(
    did: RecordReceipt, gone: TargetDetails, soup: Soup, store_key: str, current: Revision | None
) -> UnlearningReceipt:
    """Write an UnlearningReceipt."""
    return UnlearningReceipt(
        metadata=ObjectMeta(
            name=receipt_name(soup.metadata.name, soup.metadata.uid, did.sequence),
            namespace=soup.metadata.namespace,
        ),
        spec=UnlearningReceiptSpec(
            soup_ref=UidRef(name=soup.metadata.name, uid=soup.metadata.uid),
            shard=UidRef(name=gone.ref.name, uid=gone.ref.uid),
            sequence=did.sequence,
            digest=did.digest,
            previous=did.previous,
            requested_at=gone.requested_at,
            signed_at=did.signed_at or None,
            successor=Successor(recipe_digest=current.recipe.digest, weights_digest=current.weights)
            if current
            else None,
            store_key=store_key,
            completeness=Completeness.COMPLETE if did.is_complete else Completeness.INCOMPLETE,
            residuals=did.residuals,
            missing=did.missing[:16],
            source_digest=gone.source_digest,
            data_digest=gone.data_digest,
            finalizer_removed=gone.is_lost and not gone.is_forced,
            scope=Scope.RECORDS if gone.former else Scope.SHARD,
        ),
    )


def note_receipt(did: RecordReceipt) -> EditShard:
    """Write down in the shard itself what was signed of it: in a namespace that goes, only here."""

    def edit(shard: DataShard) -> DataShard:
        asked = shard.status.unlearning
        if asked is None:
            return shard
        return change_shard_status(
            shard, unlearning=asked.model_copy(update=receipt_fields(did, asked))
        )

    return edit


def receipt_fields(did: RecordReceipt, asked: ShardUnlearning) -> dict[str, int | str]:
    """Say what an unlearning says of its receipts; the same receipt counts once."""
    is_new = did.sequence > asked.last_receipt
    more = int(is_new and not did.is_complete)
    fields: dict[str, int | str] = {
        "incomplete_receipts": asked.incomplete_receipts + more,
        "last_receipt": max(asked.last_receipt, did.sequence),
    }
    if did.is_complete and did.sequence >= asked.last_receipt:
        fields["receipt_digest"] = did.digest
    return fields


def note_lost_receipt(did: RecordReceipt) -> EditSoup:
    """Write down in the Soup what was signed of a shard that has no object."""

    def edit(soup: Soup) -> Soup:
        def noted(lost_shard: LostShard) -> LostShard:
            if lost_shard.uid != did.shard:
                return lost_shard
            new = lost_shard.unlearning.model_copy(
                update=receipt_fields(did, lost_shard.unlearning)
            )
            return lost_shard.model_copy(update={"unlearning": new})

        return change_soup_status(soup, lost=tuple(noted(one) for one in soup.status.lost))

    return edit
