"""Writes objects with optimistic concurrency; on a conflict, reapplies the edits.

Edits are functions, so that they can be reapplied to the newest version of the object.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Conflict, NotFound
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.kube.cache import Cache
from stockpot.kube.event_recorder import RecordEvents, event_messages_of

Kind = TypeVar("Kind", DataShard, Soup, SoupRevision, UnlearningReceipt, UnlearningDebt)
Changeable = TypeVar("Changeable", DataShard, Soup, SoupRevision, UnlearningDebt)

ATTEMPTS = 5
"""Attempts to write an object that another client writes at the same time."""


RESOURCES: dict[type, Resource] = {
    DataShard: DATA_SHARDS,
    Soup: SOUPS,
    SoupRevision: SOUP_REVISIONS,
    UnlearningReceipt: UNLEARNING_RECEIPTS,
    UnlearningDebt: UNLEARNING_DEBTS,
}


def read(kind: type[Kind], thing: Json) -> Kind:
    """Parse an object from the API server.

    Raises:
        Refused: It is invalid for this version.
    """
    known = read_lenient(thing)
    assert isinstance(known, kind)
    return known


class StatusWriter:
    """Writes our objects, and records Events about the changes. Thread-safe."""

    def __init__(self, client: Client, cache: Cache, record_events: RecordEvents) -> None:
        self._client, self._cache, self._record_events = client, cache, record_events

    def write(
        self,
        kind: type[Changeable],
        thing: Json,
        edits: Sequence[Callable[[Changeable], Changeable]],
    ) -> None:
        """Apply edits to the newest version of an object; does nothing if it is gone.

        Raises:
            Conflict: Another client wrote the object during every attempt.
        """
        resource = RESOURCES[kind]
        for left in reversed(range(ATTEMPTS)):
            old = new = read(kind, thing)
            for edit in edits:
                new = edit(new)
            try:
                self._store(resource, thing, old, new)
            except NotFound:
                self._cache.remove(resource, thing)
                return
            except Conflict:
                newest = self._client.find(resource, namespace_of(thing), name_of(thing))
                if newest is None or uid_of(newest) != uid_of(thing):
                    self._cache.remove(resource, thing)
                    return
                self._cache.put(resource, newest)
                thing = newest
                if not left:
                    raise
            else:
                self._record_events(event_messages_of(old, new))
                return

    def _store(self, resource: Resource, thing: Json, old: Any, new: Any) -> None:
        place = namespace_of(thing), name_of(thing)
        goes = new.metadata.deletion_timestamp and not new.metadata.finalizers
        if new.status != old.status and not goes:
            # The status of an object that goes with this write is not needed any more.
            metadata = {key: thing["metadata"][key] for key in ("name", "namespace", "uid")}
            metadata["resourceVersion"] = thing["metadata"]["resourceVersion"]
            changed = {
                **{key: value for key, value in thing.items() if key == "spec"},
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": metadata,
                "status": new.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
            thing = self._client.replace_status(resource, changed)
            self._cache.put(resource, thing)
        if new.metadata.finalizers != old.metadata.finalizers:
            patch = {
                "metadata": {
                    "resourceVersion": thing["metadata"]["resourceVersion"],
                    "finalizers": list(new.metadata.finalizers) or None,
                }
            }
            thing = self._client.merge_patch(resource, *place, patch)
            if goes:
                self._cache.remove(resource, thing)
            else:
                self._cache.put(resource, thing)
