"""The port `Objects` on a cluster: the API objects of one soup.

Edits of an object are collected and written together by `flush`: a reconcile writes a status once.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic

import structlog

from stockpot.api.v1alpha1 import (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    NamespaceEnding,
    NotFound,
)
from stockpot.cluster.apiserver.labels import owner_of
from stockpot.cluster.apiserver.objects import Json, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    NAMESPACES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.errors import Refused
from stockpot.kube.cache import Cache, CachedObject
from stockpot.kube.debts import debts_of
from stockpot.kube.event_recorder import RecordEvents
from stockpot.kube.soup_listing import refresh_soup
from stockpot.kube.status_writer import RESOURCES, Changeable, Kind, StatusWriter, read
from stockpot.reconcile.objects.receipt import is_same_receipt, other_name
from stockpot.reconcile.ports import ObservedObjects, SoupKey
from stockpot.reconcile.run_specs import soup_ref

log = structlog.get_logger("stockpot.debts")

LOOK_AGAIN_S = 2.0
"""How often the namespace of a soup that is being deleted is read: no watch reports its end."""

_WRITERS = ThreadPoolExecutor(8, thread_name_prefix="writer")
"""Shared by all soups: a bound on the load of the API server."""


@dataclass
class _Pending(Generic[Changeable]):
    """Edits of one object that are not written yet."""

    before: CachedObject
    now: Changeable
    edits: list[Callable[[Changeable], Changeable]] = field(default_factory=list)


class ClusterObjects:
    """The objects of one soup."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        key: SoupKey,
        record_events: RecordEvents,
        release_namespace: str,
    ) -> None:
        self._client = client
        self._cache = cache
        self._key = key
        self._release_namespace = release_namespace
        self._writer = StatusWriter(client, cache, record_events)
        self._pending: dict[tuple[Resource, str], _Pending[Any]] = {}
        self._names: dict[str, str] = {}
        """Names of shards by UID: a reconcile may change thousands."""
        self._terminating_soup_uid = ""
        """UID of the soup whose namespace is being deleted."""
        self._next_look_s = 0.0
        """When its namespace is read again, by the monotonic clock."""

    def read(self, *, fresh: bool) -> ObservedObjects:
        """Read the soup and its shards, revisions and receipts."""
        self._pending.clear()  # Left by a reconcile that failed.
        namespace, name = self._key
        if fresh:
            refresh_soup(self._client, self._cache, namespace, name)
        known = self._cache.find(SOUPS, namespace, name)
        soup = self._parsed(Soup, known) if known else None
        uid = known.uid if known else None
        if soup and soup.metadata.deletion_timestamp and self._terminates():
            self._terminating_soup_uid = soup.metadata.uid
        shards = self._cache.of_soup(DATA_SHARDS, namespace, name)
        self._names = {shard.uid: shard.name for shard in shards}
        return ObservedObjects(
            soup,
            tuple(self._parsed(DataShard, shard) for shard in shards),
            tuple(
                self._parsed(SoupRevision, revision)
                for revision in self._cache.of_soup(SOUP_REVISIONS, namespace, uid or "")
            ),
            tuple(
                self._parsed(UnlearningReceipt, receipt)
                for receipt in self._cache.of_soup(UNLEARNING_RECEIPTS, namespace, uid or "")
            ),
            namespace_terminates=uid is not None and uid == self._terminating_soup_uid,
            debts=debts_of(self._client, self._cache, self._release_namespace, uid, fresh=fresh),
        )

    def _terminates(self) -> bool:
        """Whether the namespace is being deleted; it never stops being."""
        soup = self._cache.find(SOUPS, *self._key)
        if soup and self._terminating_soup_uid == soup.uid:
            return True
        if time.monotonic() < self._next_look_s:
            return False
        self._next_look_s = time.monotonic() + LOOK_AGAIN_S
        try:
            live = self._client.find(NAMESPACES, None, self._key.namespace)
        except Forbidden:
            return False  # A refusal to create something will tell.
        return live is not None and "deletionTimestamp" in live["metadata"]

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Change the soup; written by `flush`."""
        self._change(Soup, self._cache.find(SOUPS, *self._key), edit)

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Change a shard; written by `flush`."""
        name = self._names.get(uid)
        shard = self._cache.find(DATA_SHARDS, self._key.namespace, name) if name else None
        self._change(DataShard, shard if shard and shard.uid == uid else None, edit)

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Change a revision; written by `flush`."""
        known = self._cache.find(SOUP_REVISIONS, self._key.namespace, name)
        self._change(SoupRevision, known, edit)

    def create(self, new: SoupRevision | UnlearningReceipt | UnlearningDebt) -> None:
        """Create an object, unless it exists already or its namespace terminates."""
        if isinstance(new, UnlearningDebt):
            self._create_debt(new)
            return
        resource = RESOURCES[type(new)]
        body = new.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
        meta = new.metadata
        body["metadata"] = {"name": meta.name, "namespace": meta.namespace}
        soup = self._cache.find(SOUPS, *self._key)
        if isinstance(new, SoupRevision) and soup:
            # A revision is deleted with its soup; a receipt outlives it.
            owner = soup_ref(self._parsed(Soup, soup))
            body["metadata"]["ownerReferences"] = [owner_of(owner)]
        try:
            if isinstance(new, UnlearningReceipt):
                self._store_receipt(new, body)
            else:
                with suppress(AlreadyExists):
                    self._cache.put(resource, self._client.create(resource, body))
        except NamespaceEnding:
            # The store has the receipt itself; the shard's status records it instead.
            self._terminating_soup_uid = soup.uid if soup else ""

    def _create_debt(self, new: UnlearningDebt) -> None:
        """Write a debt into the operator's namespace; it has our finalizer until it is paid."""
        meta = new.metadata
        body = new.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
        body["metadata"] = {
            "name": meta.name,
            "namespace": self._release_namespace,
            "finalizers": list(meta.finalizers),
        }
        try:
            self._cache.put(UNLEARNING_DEBTS, self._client.create(UNLEARNING_DEBTS, body))
        except AlreadyExists:
            return  # The next reconcile observes it.
        log.warning(
            "a Soup is let go before its shards are unlearned; an UnlearningDebt has what is owed",
            soup=f"{self._key.namespace}/{self._key.name}",
            debt=f"{self._release_namespace}/{meta.name}",
            shards=len(new.spec.shards),
        )

    def _store_receipt(self, new: UnlearningReceipt, body: Json) -> None:
        """Create a receipt under its name, or under a longer one if another receipt has that.

        Raises:
            Refused: Other receipts have both names.
        """
        names = (new.metadata.name, other_name(new))
        for name in names:
            named = {**body, "metadata": {**body["metadata"], "name": name}}
            try:
                stored = self._client.create(UNLEARNING_RECEIPTS, named)
            except AlreadyExists:
                there = self._client.find(UNLEARNING_RECEIPTS, new.metadata.namespace, name)
                if there is None:
                    return  # It was deleted meanwhile: the next reconcile creates this one.
                if not is_same_receipt(read(UnlearningReceipt, there), new):
                    continue
                stored = there
            self._cache.put(UNLEARNING_RECEIPTS, stored)
            return
        raise Refused(
            f"receipt {new.spec.sequence} of Soup {new.spec.soup_ref.name} cannot be recorded: "
            f"the UnlearningReceipts {' and '.join(names)} exist and record other receipts",
            help=f"compare them: kubectl get receipts -n {new.metadata.namespace} "
            f"{' '.join(names)} -o yaml; delete the one without a signature",
        )

    def delete_revision(self, name: str) -> None:
        """Delete a revision's object, if it exists."""
        namespace = self._key.namespace
        known = self._cache.get(SOUP_REVISIONS, namespace, name)
        with suppress(NotFound, Conflict):
            self._client.delete(SOUP_REVISIONS, namespace, name, uid=uid_of(known) if known else "")
        if known:
            self._cache.remove(SOUP_REVISIONS, known)

    def flush(self) -> None:
        """Write the collected edits, of several objects concurrently."""
        pending = list(self._pending.values())
        self._pending.clear()
        if len(pending) == 1:
            self._write(pending[0])
            return
        writes = [_WRITERS.submit(self._write, edits) for edits in pending]
        wait(writes)
        for write in writes:
            write.result()

    def _change(
        self,
        kind: type[Changeable],
        known: CachedObject | None,
        edit: Callable[[Changeable], Changeable],
    ) -> None:
        if known is None:
            return
        place = (RESOURCES[kind], known.uid)
        pending = self._pending.get(place)
        if pending is None:
            pending = _Pending(known, self._parsed(kind, known))
        new = edit(pending.now)
        if new == pending.now:
            return
        pending.now = new
        pending.edits.append(edit)
        self._pending[place] = pending

    def _write(self, pending: _Pending[Any]) -> None:
        self._writer.write(type(pending.now), pending.before.json, pending.edits)

    def _parsed(self, kind: type[Kind], known: CachedObject) -> Kind:
        model = self._cache.model(known)
        assert isinstance(model, kind)
        return model
