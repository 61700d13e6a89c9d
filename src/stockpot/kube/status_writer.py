"""How one object is written: the version that is meant is named, and others' writes are met.

Where somebody else was quicker, the edits are made again on the newest form; so they are functions,
and say nothing where there is nothing left to say.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Conflict, NotFound
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.kube.cache import Cache
from stockpot.kube.event_recorder import Announce, announcements_of

Kind = TypeVar("Kind", DataShard, Soup, SoupRevision, UnlearningReceipt)
Changeable = TypeVar("Changeable", DataShard, Soup, SoupRevision)

ATTEMPTS = 5
"""How often an object is written that somebody else writes at the same time."""


RESOURCES: dict[type, Resource] = {
    DataShard: DATA_SHARDS,
    Soup: SOUPS,
    SoupRevision: SOUP_REVISIONS,
    UnlearningReceipt: UNLEARNING_RECEIPTS,
}


def read(kind: type[Kind], thing: Json) -> Kind:
    """Read an object as the API server has it.

    Raises:
        Refused: This version does not understand it.
    """
    known = read_lenient(thing)
    assert isinstance(known, kind)
    return known


class StatusWriter:
    """Writes objects of ours, and tells people what that changed. For many threads."""

    def __init__(self, client: Client, cache: Cache, announce: Announce) -> None:
        self._client, self._cache, self._announce = client, cache, announce

    def write(
        self,
        kind: type[Changeable],
        thing: Json,
        edits: Sequence[Callable[[Changeable], Changeable]],
    ) -> None:
        """Make the edits on an object, or on what it is by now; nothing where it is gone.

        Raises:
            Conflict: Somebody writes it all the time.
        """
        resource = RESOURCES[kind]
        for left in reversed(range(ATTEMPTS)):
            old = new = read(kind, thing)
            for edit in edits:
                new = edit(new)
            try:
                self._store(resource, thing, old, new)
            except NotFound:
                self._cache.lose(resource, thing)
                return
            except Conflict:
                newest = self._client.find(resource, namespace_of(thing), name_of(thing))
                if newest is None or uid_of(newest) != uid_of(thing):
                    self._cache.lose(resource, thing)
                    return
                self._cache.see(resource, newest)
                thing = newest
                if not left:
                    raise
            else:
                self._announce(announcements_of(old, new))
                return

    def _store(self, resource: Resource, thing: Json, old: Any, new: Any) -> None:
        place = namespace_of(thing), name_of(thing)
        goes = new.metadata.deletion_timestamp and not new.metadata.finalizers
        if new.status != old.status and not goes:
            # An object that goes with this very write has nothing left to say.
            about = {key: thing["metadata"][key] for key in ("name", "namespace", "uid")}
            about["resourceVersion"] = thing["metadata"]["resourceVersion"]
            told = {
                **{key: value for key, value in thing.items() if key == "spec"},
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": about,
                "status": new.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
            thing = self._client.replace_status(resource, told)
            self._cache.see(resource, thing)
        if new.metadata.finalizers != old.metadata.finalizers:
            patch = {
                "metadata": {
                    "resourceVersion": thing["metadata"]["resourceVersion"],
                    "finalizers": list(new.metadata.finalizers) or None,
                }
            }
            thing = self._client.merge_patch(resource, *place, patch)
            if goes:
                self._cache.lose(resource, thing)
            else:
                self._cache.see(resource, thing)
