"""Reads and writes what is being unlearned: in a DataShard, or in the Soup where it has none."""

from collections.abc import Container, Iterator, Mapping
from datetime import datetime

from stockpot.api.v1alpha1 import (
    FINALIZER,
    MOST_LOST,
    DataShard,
    LostShard,
    ShardUnlearning,
    Soup,
)
from stockpot.core.actions import RecordReceipt
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of, shard_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.run_starts import StartTraining
from stockpot.core.runs import Run
from stockpot.core.shard import Shard
from stockpot.core.unlearning_target import (
    LostObject,
    Owner,
    PastTraining,
    ShardObject,
    UnlearningTarget,
)
from stockpot.reconcile.objects.debt import owed_uids
from stockpot.reconcile.objects.fields import instant, is_forced, timestamp
from stockpot.reconcile.objects.shard import EditShard, change_shard_status, request_of
from stockpot.reconcile.objects.soup import EditSoup, change_soup_status
from stockpot.reconcile.ports import ObservedObjects


def is_to_be_unlearned(shard: DataShard, has_receipt: Container[ShardUID], now: datetime) -> bool:
    """Whether a DataShard is deleted, expired, or was so before.

    Unlearning is never taken back: its tombstone stands whatever the object says later.

    Args:
        shard: The object.
        has_receipt: The UIDs of shards that have a receipt.
        now: The time.
    """
    unlearning, expire_at = shard.status.unlearning, shard.spec.expire_at
    if shard.metadata.deletion_timestamp is not None or (unlearning and unlearning.requested_at):
        return True
    if expire_at and now >= instant(expire_at):
        return True
    return ShardUID(shard.metadata.uid) in has_receipt


def object_target(
    shard: DataShard, view: Shard, soup: Soup, receipts: tuple[RecordedReceipt, ...]
) -> UnlearningTarget:
    """Return the target of a DataShard that is deleted or expired."""
    owner = ShardObject(
        view,
        is_deleted=shard.metadata.deletion_timestamp is not None,
        is_recorded=any(note.uid == view.uid for note in soup.status.lost),
    )
    unlearning = shard.status.unlearning
    return _target(view.uid, view.name, owner, unlearning, receipts, is_forced=is_forced(shard))


def past_training_targets(
    shard: DataShard, soup: Soup, receipts: tuple[RecordedReceipt, ...]
) -> Iterator[UnlearningTarget]:
    """Return the trainings with records that left their shard: each is unlearned by itself."""
    if not shard.status.former:
        return
    uid = ShardUID(shard.metadata.uid)
    successor = StartTraining(uid, request_of(shard, soup)).stem
    for former in shard.status.former:
        ingredient = Ingredient(uid, Digest(former.training_key))
        yield _target(
            former_of(ingredient),
            f"{shard.metadata.name} ({len(former.records)} records)",
            PastTraining(ingredient, successor),
            former.unlearning,
            receipts,
        )


def lost_targets(
    soup: Soup,
    observed: ObservedObjects,
    runs: tuple[Run, ...],
    known: Container[ShardUID],
    receipts: tuple[RecordedReceipt, ...],
) -> Iterator[UnlearningTarget]:
    """Return targets for shards that left a trace and have no object any more.

    Args:
        soup: Its status names shards that were lost before.
        observed: Revisions that name a shard are traces of it.
        runs: So are runs that train, purge or sign for it.
        known: UIDs of the shards and targets that have an object which waits for us.
        receipts: A Complete receipt ends the search for a shard.
    """
    notes = {ShardUID(note.uid): note for note in soup.status.lost}
    traces = {ShardUID(p.shard.uid): p.shard.name for r in observed.revisions for p in r.spec.parts}
    for run in runs:
        named = {ingredient.shard for ingredient in run.lineage}
        if not observed.namespace_terminates:
            # A purge or signing is a trace, too; but where the namespace terminates no receipt's
            # object can say that all was done.
            named |= {shard_of(uid) for uid in run.about}
        traces |= dict.fromkeys(named - traces.keys(), "")
    done = {receipt.shard for receipt in receipts if receipt.is_complete}
    # What a debt has is found there.
    done |= owed_uids(observed.debts or ())
    for uid in sorted({*notes, *(traces.keys() - done)}):
        if uid in known:
            continue
        note = notes.get(uid)
        yield _target(
            uid,
            note.name if note else traces[uid] or uid[:8],
            LostObject(),
            note.unlearning if note else None,
            receipts,
            is_forced=note is not None and note.is_forced,
        )


def _target(
    uid: ShardUID,
    name: str,
    owner: Owner,
    unlearning: ShardUnlearning | None,
    receipts: tuple[RecordedReceipt, ...],
    *,
    is_forced: bool = False,
) -> UnlearningTarget:
    # In a namespace that terminates receipts have no objects: there the status alone counts them.
    recorded = [receipt for receipt in receipts if receipt.shard == uid]
    incomplete = sum(1 for receipt in recorded if not receipt.is_complete)
    last = max((receipt.sequence for receipt in recorded), default=0)
    if unlearning is None:
        return UnlearningTarget(
            uid, name, owner, is_forced=is_forced, incomplete=incomplete, last_receipt=last
        )
    return UnlearningTarget(
        uid,
        name,
        owner,
        requested_at=instant(unlearning.requested_at) if unlearning.requested_at else None,
        is_forced=is_forced,
        incomplete=max(incomplete, unlearning.incomplete_receipts),
        last_receipt=max(last, unlearning.last_receipt),
        receipt_digest=Digest(unlearning.receipt_digest) if unlearning.receipt_digest else None,
    )


def needs_tombstone(shard: DataShard) -> bool:
    """Whether the deletion of a shard is to be recorded in the shard, and is not yet.

    A forced deletion is recorded in its Soup, by a round; a shard without our finalizer is not
    ours.
    """
    meta, unlearning = shard.metadata, shard.status.unlearning
    is_held = FINALIZER in meta.finalizers
    return bool(meta.deletion_timestamp) and is_held and not unlearning and not is_forced(shard)


def tombstone(now: datetime) -> EditShard:
    """Record once when the deletion of a shard was observed."""

    def edit(shard: DataShard) -> DataShard:
        if shard.status.unlearning:
            return shard
        unlearning = ShardUnlearning(requested_at=timestamp(now), stage="Tombstoned")
        return change_shard_status(shard, unlearning=unlearning)

    return edit


def note_receipt(did: RecordReceipt) -> EditShard:
    """Record a receipt in the shard's status: the only record where the namespace terminates."""

    def edit(shard: DataShard) -> DataShard:
        unlearning = shard.status.unlearning
        if unlearning is None:
            return shard
        changes = receipt_fields(did, unlearning)
        return change_shard_status(shard, unlearning=unlearning.model_copy(update=changes))

    return edit


def receipt_fields(did: RecordReceipt, unlearning: ShardUnlearning) -> dict[str, int | str]:
    """Return the status fields of an unlearning with one more receipt; each receipt counts once."""
    is_new = did.sequence > unlearning.last_receipt
    more = int(is_new and not did.is_complete)
    fields: dict[str, int | str] = {
        "incomplete_receipts": unlearning.incomplete_receipts + more,
        "last_receipt": max(unlearning.last_receipt, did.sequence),
    }
    if did.is_complete and did.sequence >= unlearning.last_receipt:
        fields["receipt_digest"] = did.digest
    return fields


def note_lost(
    target: UnlearningTarget, training_keys: tuple[Digest, ...], now: datetime
) -> EditSoup:
    """Record in the Soup that a shard is to be unlearned which has no object, or soon has none."""
    shard = target.owner.shard if isinstance(target.owner, ShardObject) else None

    def edit(soup: Soup) -> Soup:
        if any(note.uid == target.uid for note in soup.status.lost):
            return soup
        note = LostShard(
            name=target.name,
            uid=target.uid,
            training_keys=training_keys[:16],
            source_digest=shard.source if shard else None,
            data_digest=shard.data if shard else None,
            is_forced=target.is_forced,
            unlearning=ShardUnlearning(
                requested_at=timestamp(target.requested_at or now), stage="Tombstoned"
            ),
        )
        return change_soup_status(soup, lost=(*soup.status.lost, note)[:MOST_LOST])

    return edit


def note_lost_receipt(did: RecordReceipt) -> EditSoup:
    """Record in the Soup a receipt of a shard that has no object."""

    def edit(soup: Soup) -> Soup:
        def with_receipt(lost_shard: LostShard) -> LostShard:
            if lost_shard.uid != did.shard:
                return lost_shard
            new = lost_shard.unlearning.model_copy(
                update=receipt_fields(did, lost_shard.unlearning)
            )
            return lost_shard.model_copy(update={"unlearning": new})

        return change_soup_status(soup, lost=tuple(map(with_receipt, soup.status.lost)))

    return edit


def drop_lost(uid: str) -> EditSoup:
    """Remove the note of a lost shard, once its receipt is the record."""
    return lambda soup: change_soup_status(
        soup, lost=tuple(note for note in soup.status.lost if note.uid != uid)
    )


def note_stage(former: Ingredient, stage: str) -> EditShard:
    """Record the unlearning stage of a past training."""
    return _with_note(former, {"stage": stage}) if stage else lambda shard: shard


def note_former_receipt(former: Ingredient, did: RecordReceipt) -> EditShard:
    """Record a receipt of a past training in its shard."""

    def edit(shard: DataShard) -> DataShard:
        note = next((o for o in shard.status.former if o.training_key == former.key), None)
        changes = receipt_fields(did, note.unlearning) if note else {}
        return _with_note(former, changes)(shard)

    return edit


def drop_former(former: Ingredient) -> EditShard:
    """Remove the note of a past training, once its receipt is the record."""
    return lambda shard: change_shard_status(
        shard, former=tuple(o for o in shard.status.former if o.training_key != former.key)
    )


def _with_note(former: Ingredient, changes: Mapping[str, int | str]) -> EditShard:
    def edit(shard: DataShard) -> DataShard:
        return change_shard_status(
            shard,
            former=tuple(
                note.model_copy(update={"unlearning": note.unlearning.model_copy(update=changes)})
                if note.training_key == former.key
                else note
                for note in shard.status.former
            ),
        )

    return edit
