"""Watches by kopf: objects go into the cache, and the keys of their soups into the work queue.

Of kopf only its watch streams and its credentials are used. Its queue and its worker for each
object would be most of the operator's memory and time where there are ten thousand objects.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import kopf
import structlog

# kopf does not export its streams: what is used of them is named here and nowhere else.
from kopf._cogs.clients.auth import vault_var
from kopf._cogs.clients.errors import APITooManyRequestsError
from kopf._cogs.clients.watching import watch_objs
from kopf._cogs.structs.credentials import Vault
from kopf._cogs.structs.ephemera import AnyMemo
from kopf._cogs.structs.references import NamespaceName
from kopf._cogs.structs.references import Resource as KopfResource
from kopf._core.engines.activities import authenticator

from stockpot.cluster.apiserver.labels import OURS, SOUP, SOUP_NAMESPACE
from stockpot.cluster.apiserver.objects import Json, labels_on, name_of, namespace_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.controller.queue import Priority
from stockpot.kube.cache import Cache, CachedObject, drop_unread
from stockpot.reconcile.objects.debt import debt_stem
from stockpot.reconcile.ports import SoupKey

log = structlog.get_logger("stockpot.watches")

CHILDREN = (JOBS, PODS, DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS)
WATCHED = (SOUPS, DATA_SHARDS, SOUP_REVISIONS, UNLEARNING_RECEIPTS, *CHILDREN)
IN_RELEASE_NAMESPACE = (JOBS, PODS, UNLEARNING_DEBTS)
"""There are no soups: only purge and sign runs, and what is owed of soups that are gone."""

Push = Callable[[SoupKey, Priority], None]
OnDeletion = Callable[[Json], None]

ENDING_S, CANCELLED_AGAIN_S = 5.0, 0.1
"""How long watches are given to end, and the pause between two cancellations."""
RECONNECT_S = 0.1
"""The pause between the end of a request to watch and the next one."""
STAGGER_S = 0.05
"""The pause between the first requests of two watches: of those that come side by side a busy API
server turns away all but one, and then again those that come back side by side."""


def key_of(resource: Resource, thing: Json) -> SoupKey | None:
    """Return the key of the soup that an object belongs to, or of its debts where it is gone."""
    namespace = namespace_of(thing)
    if resource == UNLEARNING_DEBTS:
        soup = thing["spec"]["soup"]
        return SoupKey(namespace, debt_stem(soup["name"], soup["uid"]))
    if resource == SOUPS:
        return SoupKey(namespace, thing["metadata"]["name"])
    if resource in CHILDREN:
        labels = labels_on(thing)
        name = labels.get(SOUP)
        return SoupKey(labels.get(SOUP_NAMESPACE, namespace), name) if name else None
    name = thing.get("spec", {}).get("soupRef", {}).get("name")
    return SoupKey(namespace, name) if name else None


def priority_of(resource: Resource, thing: Json) -> Priority:
    """Return the priority of a change: deletions go first."""
    if resource in CHILDREN:
        return Priority.CHILD
    if "deletionTimestamp" in thing["metadata"]:
        return Priority.DELETE
    return Priority.SPEC if resource in {SOUPS, DATA_SHARDS} else Priority.CHILD


Fingerprint = tuple[str, ...]


def fingerprint_of(resource: Resource, thing: Json) -> Fingerprint:
    """Return what differs between two versions of an object if a reconcile is needed.

    It excludes the status of our own kinds, which the operator itself writes.
    """
    about = thing["metadata"]
    if resource not in {SOUPS, DATA_SHARDS, SOUP_REVISIONS, UNLEARNING_DEBTS}:
        return (about["uid"], str(about.get("resourceVersion")))
    fields = ("uid", "generation", "deletionTimestamp", "finalizers", "annotations")
    # Most are equal in thousands of objects, which share them.
    return tuple(sys.intern(str(about.get(field))) for field in fields)


class Watcher:
    """Watches one namespace, on its own thread and event loop."""

    def __init__(
        self,
        cache: Cache,
        push: Push,
        on_deletion: OnDeletion,
        namespace: str,
        resources: Sequence[Resource] = WATCHED,
    ) -> None:
        """Prepare the watches; `start` starts them.

        Args:
            cache: Receives the objects.
            push: Called with the key of each soup that may have changed.
            on_deletion: Called with each shard that is being deleted. Must not block.
            namespace: The watched namespace.
            resources: The watched kinds.
        """
        self._cache, self._push, self._on_deletion = cache, push, on_deletion
        self._namespace, self._resources = namespace, tuple(resources)
        self._since: dict[Resource, str] = {}
        """The resource version that each watch continues from."""
        self._fingerprints: dict[Resource, dict[str, Fingerprint]] = {
            resource: {} for resource in resources
        }
        """The last fingerprint of each object by name, to detect repetitions."""
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._vault = Vault()
        self._thread = threading.Thread(target=self._run, name=f"watcher-{namespace}", daemon=True)

    def start(self) -> None:
        """Start the watches."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the watches."""
        self._stop.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # It is closed already.
                self._loop.call_soon_threadsafe(self._end_streams)
        self._thread.join(10)

    @property
    def is_alive(self) -> bool:
        """Whether the watches run."""
        return self._thread.is_alive()

    def take(self, resource: Resource, thing: Json) -> CachedObject:
        """Take an object from the listing that the watch continues, and pack it for the cache."""
        drop_unread(thing)
        self._fingerprints[resource][name_of(thing)] = fingerprint_of(resource, thing)
        if resource == DATA_SHARDS and "deletionTimestamp" in thing["metadata"]:
            self._on_deletion(thing)
        return CachedObject(resource, thing)

    def continue_from(self, resource: Resource, resource_version: str) -> None:
        """Watch a kind from the version of its listing on."""
        self._since[resource] = resource_version

    def handle(self, resource: Resource, type_: str | None, thing: Json) -> None:
        """Process one event of a watch."""
        known, name = self._fingerprints[resource], name_of(thing)
        if type_ == "DELETED":
            self._cache.remove(resource, thing)
            known.pop(name, None)
        else:
            drop_unread(thing)
            fingerprint = fingerprint_of(resource, thing)
            is_leaving = resource == DATA_SHARDS and "deletionTimestamp" in thing["metadata"]
            # Not compared with the cache: a listing for another soup may have updated it before,
            # without queueing this one.
            is_news = known.get(name) != fingerprint
            known[name] = fingerprint
            if is_news and is_leaving:
                self._on_deletion(thing)
            self._cache.put(resource, thing)
            if not is_news:
                return
        key = key_of(resource, thing)
        if key is not None:
            self._push(key, priority_of(resource, thing))

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._stopped, self._loop = loop.create_future(), loop
        try:
            if not self._stop.is_set():
                loop.run_until_complete(self._watch_until_one_ends())
        finally:
            _end(loop, self._vault)

    def _end_streams(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def _watch_until_one_ends(self) -> None:
        """Watch until stopped, or until one of the watches fails for good.

        All are begun anew then, from a new listing: nothing is missed in between.
        """
        assert self._stopped is not None
        registry, settings = kopf.OperatorRegistry(), _settings()
        # A new registry has no login handler; this one uses the `kubernetes` package.
        kopf.on.login(registry=registry)(kopf.login_via_client)
        vault_var.set(self._vault)
        login = authenticator(
            registry=registry,
            settings=settings,
            indices={},
            vault=self._vault,
            memo=AnyMemo(kopf.Memo()),
        )
        streams = [
            self._follow(each, settings, number * STAGGER_S)
            for number, each in enumerate(self._resources)
        ]
        tasks: list[asyncio.Future[None]] = [*map(asyncio.ensure_future, (login, *streams))]
        await asyncio.wait([*tasks, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                log.info("a watch ended", namespace=self._namespace, why=str(error))

    async def _follow(
        self,
        resource: Resource,
        settings: kopf.OperatorSettings,
        delay_s: float,
    ) -> None:
        """Follow the changes of one kind, until the API server has forgotten where it was."""
        await asyncio.sleep(delay_s)
        # kopf would end a stream by it. It is cancelled instead, which also ends one that waits.
        never = asyncio.get_running_loop().create_future()
        kind = KopfResource(
            resource.group, resource.version, resource.plural, namespaced=resource.namespaced
        )
        while True:
            stream: AsyncIterator[Any] = watch_objs(
                settings=settings,
                resource=kind,
                namespace=NamespaceName(self._namespace),
                since=self._since.get(resource),
                operator_pause_waiter=never,
            )
            # An API server that turns a watch away is asked again, until it is not busy any more.
            with suppress(APITooManyRequestsError):
                async for event in stream:
                    if not self._take_event(resource, event["type"], event["object"]):
                        return
            await asyncio.sleep(RECONNECT_S)

    def _take_event(self, resource: Resource, type_: str, thing: Json) -> bool:
        """Process one event; return whether the watch can continue."""
        if type_ == "ERROR":
            # Mostly 410: the version is too old, as after a restart of the API server.
            log.info(
                "a watch cannot continue",
                namespace=self._namespace,
                kind=resource.kind,
                why=str(thing.get("message", "")),
            )
            return False
        if version := thing["metadata"].get("resourceVersion"):
            self._since[resource] = version
        if type_ != "BOOKMARK":
            self.handle(resource, type_, thing)
        return True


def _end(loop: asyncio.AbstractEventLoop, vault: Vault) -> None:
    """Close a loop, its tasks, and the connections in kopf's vault.

    A watch of kopf that waits for a response may treat a cancellation as a pause and go on, so
    tasks are cancelled repeatedly.
    """
    last_s = time.monotonic() + ENDING_S
    while (left := asyncio.all_tasks(loop)) and time.monotonic() < last_s:
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=CANCELLED_AGAIN_S))
    loop.run_until_complete(asyncio.wait_for(vault.close(), ENDING_S))
    loop.close()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # A firewall may drop a watch silently: each is ended and renewed within these times.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    for resource in CHILDREN:
        exactly = (resource.group, resource.version, resource.plural)
        settings.watching.label_selectors[exactly] = OURS
    return settings
