"""Reads and writes fields that every kind of object has: times, finalizers, conditions."""

from datetime import datetime
from typing import TypeVar

from stockpot.api.conditions import Condition, ConditionStatus, find
from stockpot.api.v1alpha1 import (
    FINALIZER,
    FORCE_DELETE,
    MOST_RETRY,
    RETRY,
    DataShard,
    RetriedStatus,
    Soup,
)
from stockpot.core.actions import RecordRetry
from stockpot.core.digests import digest_of_json
from stockpot.core.report import ConditionUpdate
from stockpot.core.retry import RetryRequest

Holdable = TypeVar("Holdable", DataShard, Soup)


def instant(text: str) -> datetime:
    """Parse a time of the API (RFC 3339)."""
    return datetime.fromisoformat(text)


def timestamp(now: datetime) -> str:
    """Format a time as Kubernetes does: RFC 3339, in UTC, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def is_forced(thing: Holdable) -> bool:
    """Whether an object may go at once. The admission policy has checked who annotated it."""
    meta = thing.metadata
    return bool(meta.deletion_timestamp) and meta.annotations.get(FORCE_DELETE) == "true"


def retry_request(thing: Holdable) -> RetryRequest:
    """Return the request to retry that is an object's annotation, and what was recorded of one."""
    value = thing.metadata.annotations.get(RETRY, "")
    if len(value) > MOST_RETRY:
        value = digest_of_json("retry/1", value)
    retried = thing.status.retried
    return RetryRequest(value, retried.value, retried.runs) if retried else RetryRequest(value)


def retried_status(did: RecordRetry) -> RetriedStatus:
    """Return what a status records of a request to retry that was carried out."""
    return RetriedStatus(value=did.value, runs=did.runs)


def hold(thing: Holdable) -> Holdable:
    """Add our finalizer to an object, unless it is being deleted."""
    if thing.metadata.deletion_timestamp or FINALIZER in thing.metadata.finalizers:
        return thing
    return _with_finalizers(thing, (*thing.metadata.finalizers, FINALIZER))


def release(thing: Holdable) -> Holdable:
    """Remove our finalizer from an object."""
    rest = tuple(finalizer for finalizer in thing.metadata.finalizers if finalizer != FINALIZER)
    return _with_finalizers(thing, rest)


def _with_finalizers(thing: Holdable, finalizers: tuple[str, ...]) -> Holdable:
    meta = thing.metadata.model_copy(update={"finalizers": finalizers})
    return thing.model_copy(update={"metadata": meta})


def conditions(
    old: tuple[Condition, ...],
    updates: tuple[ConditionUpdate, ...],
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the updated conditions; a transition time changes only where the status did."""
    new = []
    for update in updates:
        status = ConditionStatus.TRUE if update.so else ConditionStatus.FALSE
        before = find(old, update.type)
        same = before is not None and before.status is status
        since = before.last_transition_time if before and same else timestamp(now)
        new.append(
            Condition(
                type=update.type.value,
                status=status,
                reason=update.reason.value,
                message=update.message,
                observed_generation=generation,
                last_transition_time=since,
            )
        )
    return tuple(new)
