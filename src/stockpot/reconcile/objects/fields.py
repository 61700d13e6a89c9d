"""Reads and writes fields that every kind of object has: times, finalizers, conditions."""

from datetime import datetime
from typing import TypeVar

from stockpot.api.conditions import Condition, ConditionStatus, find
from stockpot.api.v1alpha1 import FINALIZER, DataShard, ShardUnlearning, Soup
from stockpot.core.digests import Digest
from stockpot.core.recipe import ShardUID
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.report import ConditionUpdate

Holdable = TypeVar("Holdable", DataShard, Soup)


def instant(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text)


def timestamp(now: datetime) -> str:
    """Write a time as Kubernetes does: RFC 3339, in UTC, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def hold(thing: Holdable) -> Holdable:
    """Put our finalizer on it, unless it is already going."""
    if thing.metadata.deletion_timestamp or FINALIZER in thing.metadata.finalizers:
        return thing
    return _with_finalizers(thing, (*thing.metadata.finalizers, FINALIZER))


def release(thing: Holdable) -> Holdable:
    """Take our finalizer off it."""
    rest = tuple(finalizer for finalizer in thing.metadata.finalizers if finalizer != FINALIZER)
    return _with_finalizers(thing, rest)


def _with_finalizers(thing: Holdable, finalizers: tuple[str, ...]) -> Holdable:
    meta = thing.metadata.model_copy(update={"finalizers": finalizers})
    return thing.model_copy(update={"metadata": meta})


def conditions(
    old: tuple[Condition, ...], told: tuple[ConditionUpdate, ...], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Say how it is now; a time changes only where the status did."""
    new = []
    for one in told:
        status = ConditionStatus.TRUE if one.so else ConditionStatus.FALSE
        before = find(old, one.type)
        same = before is not None and before.status is status
        since = before.last_transition_time if before and same else timestamp(now)
        new.append(
            Condition(
                type=one.type.value,
                status=status,
                reason=one.reason.value,
                message=one.message,
                observed_generation=generation,
                last_transition_time=since,
            )
        )
    return tuple(new)


def incomplete_receipts(
    uid: ShardUID, receipts: tuple[RecordedReceipt, ...], told: ShardUnlearning | None
) -> int:
    """How many there are: in a namespace that goes, status alone can say so."""
    stored = sum(1 for receipt in receipts if receipt.shard == uid and not receipt.is_complete)
    return max(stored, told.incomplete_receipts if told else 0)


def last_receipt_of(
    uid: ShardUID, receipts: tuple[RecordedReceipt, ...], told: ShardUnlearning | None
) -> int:
    """Return the sequence of the last receipt of a UID; 0 where there is none."""
    stored = (receipt.sequence for receipt in receipts if receipt.shard == uid)
    return max((told.last_receipt if told else 0, *stored))


def complete_receipt_digest(unlearning: ShardUnlearning | None) -> Digest | None:
    """Return the digest of a Complete receipt, once the status names it."""
    return Digest(unlearning.receipt_digest) if unlearning and unlearning.receipt_digest else None
