"""Reads and writes what is being unlearned: in a DataShard, or in the Soup where it has none."""

from collections.abc import Container, Iterator, Mapping
from datetime import datetime

from stockpot.api.v1alpha1 import MOST_LOST, DataShard, LostShard, ShardUnlearning, Soup
from stockpot.core.actions import RecordReceipt, StartTraining
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of, shard_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.runs import Run
from stockpot.core.shard import Shard
from stockpot.core.unlearning_target import (
    LostObject,
    Owner,
    PastTraining,
    ShardObject,
    UnlearningTarget,
)
from stockpot.reconcile.objects.fields import instant, timestamp
from stockpot.reconcile.objects.shard import (
    EditShard,
    change_shard_status,
    is_forced,
    request_of,
)
from stockpot.reconcile.objects.soup import EditSoup, change_soup_status
from stockpot.reconcile.ports import ObservedObjects


def is_to_be_unlearned(
    shard: DataShard, receipts: tuple[RecordedReceipt, ...], now: datetime
) -> bool:
    """Whether a DataShard is deleted, expired, or was so before.

    Unlearning is never taken back: its tombstone stands whatever the object says later.
    """
    unlearning, expire_at = shard.status.unlearning, shard.spec.expire_at
    if shard.metadata.deletion_timestamp is not None or (unlearning and unlearning.requested_at):
        return True
    if expire_at and now >= instant(expire_at):
        return True
    return any(receipt.shard == shard.metadata.uid for receipt in receipts)


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
    seen: ObservedObjects,
    runs: tuple[Run, ...],
    known: Container[ShardUID],
    receipts: tuple[RecordedReceipt, ...],
) -> Iterator[UnlearningTarget]:
    """Return targets for shards that left a trace and have no object any more.

    Args:
        soup: Its status names shards that were lost before.
        seen: Revisions that name a shard are traces of it.
        runs: So are runs that train, purge or sign for it.
        known: UIDs of the shards and targets that have an object which waits for us.
        receipts: A Complete receipt ends the search for a shard.
    """
    notes = {ShardUID(note.uid): note for note in soup.status.lost}
    traces = {ShardUID(p.shard.uid): p.shard.name for r in seen.revisions for p in r.spec.parts}
    for run in runs:
        named = {ingredient.shard for ingredient in run.lineage}
        if not seen.namespace_terminates:
            # A purge or signing is a trace, too; but where the namespace terminates no receipt's
            # object can say that all was done.
            named |= {shard_of(uid) for uid in run.about}
        traces |= dict.fromkeys(named - traces.keys(), "")
    done = {receipt.shard for receipt in receipts if receipt.is_complete}
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


def tombstone(now: datetime) -> EditShard:
    """Write down when its deletion was seen, once."""

    def edit(shard: DataShard) -> DataShard:
        if shard.status.unlearning:
            return shard
        seen = ShardUnlearning(requested_at=timestamp(now), stage="Tombstoned")
        return change_shard_status(shard, unlearning=seen)

    return edit


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


def drop_lost(uid: str) -> EditSoup:
    """Say no more of a lost shard: its receipt does."""
    return lambda soup: change_soup_status(
        soup, lost=tuple(o for o in soup.status.lost if o.uid != uid)
    )


def note_stage(former: Ingredient, stage: str) -> EditShard:
    """Say how far the unlearning of a former training is."""
    return _with_note(former, {"stage": stage}) if stage else lambda shard: shard


def note_former_receipt(former: Ingredient, did: RecordReceipt) -> EditShard:
    """Write down what was signed of it."""

    def edit(shard: DataShard) -> DataShard:
        note = next((o for o in shard.status.former if o.training_key == former.key), None)
        told = receipt_fields(did, note.unlearning) if note else {}
        return _with_note(former, told)(shard)

    return edit


def drop_former(former: Ingredient) -> EditShard:
    """Say no more of it: its receipt does."""
    return lambda shard: change_shard_status(
        shard, former=tuple(o for o in shard.status.former if o.training_key != former.key)
    )


def _with_note(former: Ingredient, told: Mapping[str, int | str]) -> EditShard:
    def edit(shard: DataShard) -> DataShard:
        return change_shard_status(
            shard,
            former=tuple(
                one.model_copy(update={"unlearning": one.unlearning.model_copy(update=told)})
                if one.training_key == former.key
                else one
                for one in shard.status.former
            ),
        )

    return edit
