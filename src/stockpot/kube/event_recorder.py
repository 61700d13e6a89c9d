"""Kubernetes Events: one for each step of a shard, and for each promotion and receipt of a soup.

They are derived from an object before and after a write, so that no change means no Event.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import ConditionType, Reason, find
from stockpot.api.v1alpha1 import API_VERSION, RETRY, DataShard, Soup, SoupRevision, UnlearningDebt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import NamespaceEnding
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import EVENTS
from stockpot.errors import StockpotError
from stockpot.reconcile.objects.fields import timestamp

QUIET = frozenset({Reason.NOT_TRAINED})
"""Reasons without an Event: they last a moment only."""
MESSAGE_LENGTH = 1024
"""The API server's limit."""


@dataclass(frozen=True)
class EventMessage:
    """An Event about an object."""

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    is_warning: bool = False


RecordEvents = Callable[[Sequence[EventMessage]], None]


Reported = DataShard | Soup | UnlearningDebt


def event_messages_of(
    old: Reported | SoupRevision, new: Reported | SoupRevision
) -> tuple[EventMessage, ...]:
    """Return the Events about what a write changed."""
    if isinstance(new, SoupRevision) or isinstance(old, SoupRevision):
        return ()
    changes = _condition_changes(old, new)
    if not isinstance(new, UnlearningDebt) and not isinstance(old, UnlearningDebt):
        changes += _retries(old, new)
    if isinstance(new, Soup) and isinstance(old, Soup):
        changes += _soup_changes(old, new)
    meta = new.metadata
    return tuple(
        EventMessage(new.kind, meta.namespace, meta.name, meta.uid, reason, message, is_warning)
        for reason, message, is_warning in changes
    )


def _condition_changes(old: Reported, new: Reported) -> list[tuple[str, str, bool]]:
    before = find(old.status.conditions, ConditionType.READY)
    now = find(new.status.conditions, ConditionType.READY)
    if now is None or now.reason in QUIET or (before and before.reason == now.reason):
        return []
    stalled = find(new.status.conditions, ConditionType.STALLED) is not None
    meaning = next((reason.meaning for reason in Reason if reason == now.reason), "")
    return [(now.reason, now.message or meaning, stalled)]


def _retries(old: DataShard | Soup, new: DataShard | Soup) -> list[tuple[str, str, bool]]:
    retried = new.status.retried
    if retried is None or retried == old.status.retried:
        return []
    if retried.runs:
        return [("Retried", f"tried again on request: {', '.join(retried.runs)}", False)]
    what = f"{new.kind} {new.metadata.name}"
    message = (
        f"{RETRY} was set, and no run of {what} had failed: nothing is tried again; "
        "help: its condition Ready says what it waits for"
    )
    return [("NothingToRetry", message, True)]


def _soup_changes(old: Soup, new: Soup) -> list[tuple[str, str, bool]]:
    changes: list[tuple[str, str, bool]] = []
    late = find(new.status.conditions, ConditionType.UNLEARNING)
    before = find(old.status.conditions, ConditionType.UNLEARNING)
    if (
        late
        and late.reason == Reason.DEADLINE_PASSED
        and (before is None or before.reason != late.reason)
    ):
        changes.append((late.reason, late.message, True))
    current = new.status.current_revision
    if current and current != old.status.current_revision:
        members = current.members or len({ingredient.shard for ingredient in current.lineage})
        shards = "1 shard" if members == 1 else f"{members} shards"
        what = shards if members else "the base alone"
        changes.append(
            ("Promoted", f"revision {current.number} is {current.name}, of {what}", False)
        )
    if new.status.receipts.count > old.status.receipts.count:
        changes.append(
            ("ReceiptStored", f"receipt {new.status.receipts.count} is signed and stored", False)
        )
    return changes


class EventRecorder:
    """Writes Events to the API server. A failure is logged, and does not fail the reconcile."""

    def __init__(
        self,
        client: Client,
        now: Callable[[], datetime],
        instance: str,
        warn: Callable[[str], None],
    ) -> None:
        self._client, self._now, self._instance, self._warn = client, now, instance, warn

    def __call__(self, messages: Sequence[EventMessage]) -> None:
        """Write the Events."""
        for message in messages:
            try:
                self._client.create(EVENTS, self._event(message))
            except NamespaceEnding:
                continue  # The namespace is being deleted, and its Events with it.
            except StockpotError as error:
                self._warn(error.message)

    def _event(self, event_message: EventMessage) -> Json:
        at = timestamp(self._now())
        content = f"{event_message.uid} {event_message.reason} {event_message.message} {at}"
        name = f"{event_message.name}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": event_message.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": event_message.kind,
                "namespace": event_message.namespace,
                "name": event_message.name,
                "uid": event_message.uid,
            },
            "reason": event_message.reason,
            "message": event_message.message[:MESSAGE_LENGTH],
            "type": "Warning" if event_message.is_warning else "Normal",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "source": {"component": "stockpot"},
            "reportingComponent": "stockpot.dev/operator",
            "reportingInstance": self._instance,
            "action": "Reconcile",
        }
