"""How a shard changes when records leave it: pure functions from an object to its next form."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stockpot.api.v1alpha1 import MOST_EXCLUDED, MOST_FORMER, DataShard, FormerTraining
from stockpot.api.v1alpha1 import ShardUnlearning as Unlearning
from stockpot.core.actions import DropIngredient, RecordReceipt
from stockpot.core.recipe import Ingredient
from stockpot.reconcile.edits import EditShard, change_shard_status, timestamp
from stockpot.reconcile.unlearned import receipt_fields


def note_records(now: datetime) -> EditShard:
    """Write down when it was seen that records are to leave, once."""
    return lambda shard: (
        shard
        if shard.status.records_asked_at
        else change_shard_status(shard, records_asked_at=timestamp(now))
    )


def drop_note(shard: DataShard) -> DataShard:
    """Say no more that records are to leave."""
    return change_shard_status(shard, records_asked_at=None)


def disown(did: DropIngredient, now: datetime) -> EditShard:
    """Take the ingredient away, and write down what is to be forgotten of it, in one write."""

    def edit(shard: DataShard) -> DataShard:
        status = shard.status
        known = {one.training_key for one in status.former}
        is_other = did.is_known and status.training_key != did.former.key
        if is_other or did.former.key in known or len(known) == MOST_FORMER:
            return shard  # It was done before; or others wait, and the soup is without it anyway.
        note = FormerTraining(
            training_key=did.former.key,
            is_known=did.is_known,
            records=did.records[:MOST_EXCLUDED],
            unlearning=Unlearning(
                requested_at=status.records_asked_at or timestamp(now), stage="Tombstoned"
            ),
        )
        fields = ("ingredient", "training_key", "data_digest", "records")
        nothing: dict[str, Any] = {**dict.fromkeys(fields), "omissions": ()}
        return change_shard_status(
            shard,
            **(nothing | {"training": None} if did.is_known else {}),
            records_asked_at=None,
            left_out=tuple(sorted({*status.left_out, *did.records}))[:MOST_EXCLUDED],
            former=(*status.former, note),
        )

    return edit


def note_stage(former: Ingredient, stage: str) -> EditShard:
    """Say how far the unlearning of a former training is."""
    return _with_note(former, {"stage": stage}) if stage else lambda shard: shard


def note_receipt(former: Ingredient, did: RecordReceipt) -> EditShard:
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
