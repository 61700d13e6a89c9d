"""The objects of one soup on a cluster: the port `Objects`.

Changes of one object are gathered, and written together when the round asks for it: one write of
its status, whatever a round learnt. A write names the version that it is of; where somebody else
was quicker, the edits are made again on the newest form.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cluster.answers import AlreadyExists, Conflict, NamespaceEnding, NotFound
from stockpot.cluster.client import Client
from stockpot.cluster.labels import owner_of
from stockpot.cluster.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.controller.announcements import Announce, announcements_of
from stockpot.controller.cache import Cache
from stockpot.reconcile.orders import soup_ref
from stockpot.reconcile.ports import Seen, SoupKey

Kind = TypeVar("Kind", DataShard, Soup, SoupRevision, UnlearningReceipt)
Changeable = TypeVar("Changeable", DataShard, Soup, SoupRevision)

ATTEMPTS = 5
"""How often an object is written that somebody else writes at the same time."""

_WRITERS = ThreadPoolExecutor(8, thread_name_prefix="writing")
"""Of all soups together: the API server serves others, too."""

RESOURCES: dict[type, Resource] = {
    DataShard: DATA_SHARDS,
    Soup: SOUPS,
    SoupRevision: SOUP_REVISIONS,
    UnlearningReceipt: UNLEARNING_RECEIPTS,
}


@dataclass
class _Pending(Generic[Changeable]):
    """Edits of one object that are not written yet."""

    before: Json
    now: Changeable
    edits: list[Callable[[Changeable], Changeable]] = field(default_factory=list)


def read(kind: type[Kind], thing: Json) -> Kind:
    """Read an object as the API server has it.

    Raises:
        Refused: This version does not understand it.
    """
    known = read_lenient(thing)
    assert isinstance(known, kind)
    return known


class ClusterObjects:
    """The objects of one soup."""

    def __init__(self, client: Client, cache: Cache, key: SoupKey, announce: Announce) -> None:
        self._client = client
        self._cache = cache
        self._key = key
        self._announce = announce
        self._pending: dict[tuple[Resource, str], _Pending[Any]] = {}
        self._names: dict[str, str] = {}
        """Of shards, by their UIDs: a round changes each of thousands."""

    def read(self, *, fresh: bool) -> Seen:
        """Read the soup and all that belongs to it."""
        self._pending.clear()  # Of a round that broke off.
        namespace, name = self._key
        if fresh:
            for resource in RESOURCES.values():
                found = self._client.list(resource, namespace)
                self._cache.replace(resource, namespace, found)
        soup = self._cache.get(SOUPS, namespace, name)
        uid = uid_of(soup) if soup else None
        shards = [
            one
            for one in self._cache.list(DATA_SHARDS, namespace)
            if one["spec"]["soupRef"]["name"] == name
        ]
        self._names = {uid_of(one): name_of(one) for one in shards}
        return Seen(
            read(Soup, soup) if soup else None,
            tuple(read(DataShard, one) for one in shards),
            tuple(
                read(SoupRevision, one)
                for one in self._cache.list(SOUP_REVISIONS, namespace)
                if one["spec"]["soupRef"]["uid"] == uid
            ),
            tuple(
                read(UnlearningReceipt, one)
                for one in self._cache.list(UNLEARNING_RECEIPTS, namespace)
                if one["spec"]["soupRef"]["uid"] == uid
            ),
        )

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Change the soup; written by `flush`."""
        self._change(Soup, self._cache.get(SOUPS, *self._key), edit)

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Change a shard; written by `flush`."""
        name = self._names.get(uid)
        shard = self._cache.get(DATA_SHARDS, self._key.namespace, name) if name else None
        self._change(DataShard, shard if shard and uid_of(shard) == uid else None, edit)

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Change a revision; written by `flush`."""
        self._change(SoupRevision, self._cache.get(SOUP_REVISIONS, self._key.namespace, name), edit)

    def create(self, new: SoupRevision | UnlearningReceipt) -> None:
        """Store an object; nothing happens where one of its name is, or where none can be."""
        resource = RESOURCES[type(new)]
        told = new.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
        meta = new.metadata
        told["metadata"] = {"name": meta.name, "namespace": meta.namespace}
        soup = self._cache.get(SOUPS, *self._key)
        if isinstance(new, SoupRevision) and soup:
            # It goes with its soup; a receipt outlives it.
            told["metadata"]["ownerReferences"] = [owner_of(soup_ref(read(Soup, soup)))]
        try:
            self._cache.see(resource, self._client.create(resource, told))
        except AlreadyExists:
            pass
        except NamespaceEnding:
            return  # The store has what counts.

    def delete_revision(self, name: str) -> None:
        """Remove a revision's object; nothing happens where there is none."""
        namespace = self._key.namespace
        known = self._cache.get(SOUP_REVISIONS, namespace, name)
        with suppress(NotFound, Conflict):
            self._client.delete(SOUP_REVISIONS, namespace, name, uid=uid_of(known) if known else "")
        if known:
            self._cache.lose(SOUP_REVISIONS, known)

    def flush(self) -> None:
        """Write what was changed: several objects side by side, for each waits for its answer."""
        pending = [(resource, one) for (resource, _), one in self._pending.items()]
        self._pending.clear()
        if len(pending) == 1:
            self._write(*pending[0])
            return
        written = [_WRITERS.submit(self._write, *one) for one in pending]
        wait(written)
        for one in written:
            one.result()

    def _change(
        self,
        kind: type[Changeable],
        thing: Json | None,
        edit: Callable[[Changeable], Changeable],
    ) -> None:
        if thing is None:
            return
        place = (RESOURCES[kind], uid_of(thing))
        pending = self._pending.get(place)
        if pending is None:
            pending = _Pending(thing, read(kind, thing))
        new = edit(pending.now)
        if new == pending.now:
            return
        pending.now = new
        pending.edits.append(edit)
        self._pending[place] = pending

    def _write(self, resource: Resource, pending: _Pending[Any]) -> None:
        thing = pending.before
        for left in reversed(range(ATTEMPTS)):
            old = new = read(type(pending.now), thing)
            for edit in pending.edits:
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
