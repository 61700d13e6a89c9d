"""The objects of one soup on a cluster: the port `Objects`.

Changes of one object are gathered, and written together when the round asks for it: one write of
its status, whatever a round learnt.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic

from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import AlreadyExists, Conflict, NamespaceEnding, NotFound
from stockpot.cluster.apiserver.labels import owner_of
from stockpot.cluster.apiserver.objects import Json, name_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.errors import Refused
from stockpot.kube.cache import Cache
from stockpot.kube.event_recorder import Announce
from stockpot.kube.status_writer import RESOURCES, Changeable, StatusWriter, read
from stockpot.reconcile.objects.receipt import is_same_receipt, other_name
from stockpot.reconcile.ports import ObservedObjects, SoupKey
from stockpot.reconcile.run_specs import soup_ref

_WRITERS = ThreadPoolExecutor(8, thread_name_prefix="writing")
"""Of all soups together: the API server serves others, too."""


@dataclass
class _Pending(Generic[Changeable]):
    """Edits of one object that are not written yet."""

    before: Json
    now: Changeable
    edits: list[Callable[[Changeable], Changeable]] = field(default_factory=list)


class ClusterObjects:
    """The objects of one soup."""

    def __init__(self, client: Client, cache: Cache, key: SoupKey, announce: Announce) -> None:
        self._client = client
        self._cache = cache
        self._key = key
        self._writer = StatusWriter(client, cache, announce)
        self._pending: dict[tuple[Resource, str], _Pending[Any]] = {}
        self._names: dict[str, str] = {}
        """Of shards, by their UIDs: a round changes each of thousands."""
        self._terminating_soup_uid = ""
        """UID of the soup in whose namespace the API server refused to create anything more."""

    def read(self, *, fresh: bool) -> ObservedObjects:
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
        self._names = {uid_of(shard): name_of(shard) for shard in shards}
        return ObservedObjects(
            read(Soup, soup) if soup else None,
            tuple(read(DataShard, shard) for shard in shards),
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
            namespace_terminates=uid is not None and uid == self._terminating_soup_uid,
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
        """Store an object, unless it is there already or its namespace terminates."""
        resource = RESOURCES[type(new)]
        told = new.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
        meta = new.metadata
        told["metadata"] = {"name": meta.name, "namespace": meta.namespace}
        soup = self._cache.get(SOUPS, *self._key)
        if isinstance(new, SoupRevision) and soup:
            # It goes with its soup; a receipt outlives it.
            told["metadata"]["ownerReferences"] = [owner_of(soup_ref(read(Soup, soup)))]
        try:
            if isinstance(new, UnlearningReceipt):
                self._store_receipt(new, told)
            else:
                with suppress(AlreadyExists):
                    self._cache.see(resource, self._client.create(resource, told))
        except NamespaceEnding:
            # The store has what counts; the shard's own status becomes its receipt's record.
            self._terminating_soup_uid = uid_of(soup) if soup else ""
        else:
            self._terminating_soup_uid = ""

    def _store_receipt(self, new: UnlearningReceipt, told: Json) -> None:
        """Store a receipt under its name, or under a longer one where another has that.

        Raises:
            Refused: Other receipts have both names.
        """
        names = (new.metadata.name, other_name(new))
        for name in names:
            named = {**told, "metadata": {**told["metadata"], "name": name}}
            try:
                stored = self._client.create(UNLEARNING_RECEIPTS, named)
            except AlreadyExists:
                there = self._client.find(UNLEARNING_RECEIPTS, new.metadata.namespace, name)
                if there is None:
                    return  # It went meanwhile: the next round stores this one.
                if not is_same_receipt(read(UnlearningReceipt, there), new):
                    continue
                stored = there
            self._cache.see(UNLEARNING_RECEIPTS, stored)
            return
        raise Refused(
            f"receipt {new.spec.sequence} of Soup {new.spec.soup_ref.name} cannot be recorded: "
            f"UnlearningReceipts {' and '.join(names)} are there and record others",
            help=f"see whose they are: kubectl get receipts -n {new.metadata.namespace} "
            f"{' '.join(names)} -o yaml; delete the one that nobody signed",
        )

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
        pending = list(self._pending.values())
        self._pending.clear()
        if len(pending) == 1:
            self._write(pending[0])
            return
        written = [_WRITERS.submit(self._write, one) for one in pending]
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

    def _write(self, pending: _Pending[Any]) -> None:
        self._writer.write(type(pending.now), pending.before, pending.edits)
