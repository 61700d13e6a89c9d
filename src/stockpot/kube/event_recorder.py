"""What people are told as Events: each step of a shard, and each promotion of a soup, once.

Made from an object before and after a write, so that a settled world says nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import ConditionType, Reason, find
from stockpot.api.v1alpha1 import API_VERSION, DataShard, Soup, SoupRevision
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import NamespaceEnding
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import EVENTS
from stockpot.errors import StockpotError
from stockpot.reconcile.objects.fields import timestamp

QUIET = frozenset({Reason.NOT_TRAINED})
"""What lasts for a moment only, and that everybody knows."""
MESSAGE_LENGTH = 1024
"""What the API server takes."""


@dataclass(frozen=True)
class EventMessage:
    """One thing that happened to an object."""

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    is_warning: bool = False


Announce = Callable[[Sequence[EventMessage]], None]


def announcements_of(
    old: DataShard | Soup | SoupRevision, new: DataShard | Soup | SoupRevision
) -> tuple[EventMessage, ...]:
    """Say what a write changed that a person would ask about."""
    if isinstance(new, SoupRevision) or isinstance(old, SoupRevision):
        return ()
    said: list[tuple[str, str, bool]] = []
    said += _of_condition(old, new)
    if isinstance(new, Soup) and isinstance(old, Soup):
        said += _of_soup(old, new)
    meta = new.metadata
    return tuple(
        EventMessage(new.kind, meta.namespace, meta.name, meta.uid, reason, message, is_warning)
        for reason, message, is_warning in said
    )


def _of_condition(old: DataShard | Soup, new: DataShard | Soup) -> list[tuple[str, str, bool]]:
    before = find(old.status.conditions, ConditionType.READY)
    now = find(new.status.conditions, ConditionType.READY)
    if now is None or now.reason in QUIET or (before and before.reason == now.reason):
        return []
    stalled = find(new.status.conditions, ConditionType.STALLED) is not None
    meaning = next((reason.meaning for reason in Reason if reason == now.reason), "")
    return [(now.reason, now.message or meaning, stalled)]


def _of_soup(old: Soup, new: Soup) -> list[tuple[str, str, bool]]:
    said: list[tuple[str, str, bool]] = []
    late = find(new.status.conditions, ConditionType.UNLEARNING)
    before = find(old.status.conditions, ConditionType.UNLEARNING)
    if (
        late
        and late.reason == Reason.DEADLINE_PASSED
        and (before is None or before.reason != late.reason)
    ):
        said.append((late.reason, late.message, True))
    current = new.status.current_revision
    if current and current != old.status.current_revision:
        members = current.members or len({one.shard for one in current.lineage})
        shards = "1 shard" if members == 1 else f"{members} shards"
        what = shards if members else "the base alone"
        said.append(("Promoted", f"revision {current.number} is {current.name}, of {what}", False))
    if new.status.receipts.count > old.status.receipts.count:
        said.append(
            ("ReceiptStored", f"receipt {new.status.receipts.count} is signed and stored", False)
        )
    return said


class EventRecorder:
    """Writes them to the API server. None is worth a failed round."""

    def __init__(
        self,
        client: Client,
        now: Callable[[], datetime],
        instance: str,
        warn: Callable[[str], None],
    ) -> None:
        self._client, self._now, self._instance, self._warn = client, now, instance, warn

    def __call__(self, said: Sequence[EventMessage]) -> None:
        """Write them."""
        for one in said:
            try:
                self._client.create(EVENTS, self._event(one))
            except NamespaceEnding:
                continue  # Nobody can read it there any more.
            except StockpotError as error:
                self._warn(error.message)

    def _event(self, event_message: EventMessage) -> Json:
        at = timestamp(self._now())
        told = f"{event_message.uid} {event_message.reason} {event_message.message} {at}"
        name = f"{event_message.name}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"
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
