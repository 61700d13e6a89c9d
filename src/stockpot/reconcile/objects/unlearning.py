"""Reads and writes what is being unlearned: in a DataShard, or in the Soup where it has none."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from stockpot.api.v1alpha1 import MOST_LOST, DataShard, LostShard, ShardUnlearning, Soup
from stockpot.core.actions import RecordReceipt, StartTraining
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of, shard_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.runs import Run
from stockpot.core.shard import Shard
from stockpot.reconcile.objects.fields import (
    complete_receipt_digest,
    incomplete_receipts,
    instant,
    last_receipt_of,
    timestamp,
)
from stockpot.reconcile.objects.shard import EditShard, change_shard_status, request_of
from stockpot.reconcile.objects.soup import EditSoup, change_soup_status
from stockpot.reconcile.ports import ObservedObjects


def former_views(
    shard: DataShard, soup: Soup, receipts: tuple[RecordedReceipt, ...]
) -> Iterator[Shard]:
    """See trainings with records that left their shard: each is unlearned by itself."""
    uid = ShardUID(shard.metadata.uid)
    training = StartTraining(uid, request_of(shard, soup)) if shard.status.former else None
    for one in shard.status.former if training else ():
        former = Ingredient(uid, Digest(one.training_key))
        name = former_of(former)
        yield Shard(
            uid=name,
            name=f"{shard.metadata.name} ({len(one.records)} records)",
            request=Digest(""),
            alive=False,
            requested_at=instant(one.unlearning.requested_at),
            incomplete=incomplete_receipts(name, receipts, one.unlearning),
            last_receipt=last_receipt_of(name, receipts, one.unlearning),
            receipt_digest=complete_receipt_digest(one.unlearning),
            former=former,
            successor=f"{training.stem}-" if training else "",
        )


def lost_views(
    soup: Soup,
    seen: ObservedObjects,
    runs: tuple[Run, ...],
    held: tuple[Shard, ...],
    receipts: tuple[RecordedReceipt, ...],
) -> Iterator[Shard]:
    """Find shards that left a trace and are no objects any more, or do not wait for us."""
    known = {shard.uid for shard in held}
    noted = {ShardUID(one.uid): one for one in soup.status.lost}
    traces = {ShardUID(p.shard.uid): p.shard.name for r in seen.revisions for p in r.spec.parts}
    for run in runs:
        named = {one.shard for one in run.lineage}
        if not seen.namespace_terminates:
            # A purge or signing is a trace, too; but where the namespace terminates no receipt's
            # object can say that all was done.
            named |= {shard_of(uid) for uid in run.about}
        traces |= dict.fromkeys(named - traces.keys(), "")
    done = {receipt.shard for receipt in receipts if receipt.is_complete}
    for uid in sorted({*noted, *(traces.keys() - done)} - known):
        told = noted[uid].unlearning if uid in noted else None
        yield Shard(
            uid=uid,
            name=noted[uid].name if uid in noted else traces[uid] or uid[:8],
            request=Digest(""),
            alive=False,
            is_lost=True,
            is_forced=uid in noted and noted[uid].is_forced,
            requested_at=instant(told.requested_at) if told else None,
            incomplete=incomplete_receipts(uid, receipts, told),
            last_receipt=last_receipt_of(uid, receipts, told),
            receipt_digest=complete_receipt_digest(told),
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
