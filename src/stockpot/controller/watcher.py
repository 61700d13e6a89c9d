"""Watches by kopf: objects go into the cache, and the keys of their soups into the work queue.

Nothing else of kopf is used: no finalizers, no annotations, no timers, no peering.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import kopf
from kopf._cogs.structs.credentials import Vault  # Which can be given to it, and is not exported.

from stockpot.cluster.apiserver.labels import OURS, SOUP, SOUP_NAMESPACE
from stockpot.cluster.apiserver.objects import Json, labels_on, name_of, namespace_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    SERVICES,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.controller.queue import Priority
from stockpot.kube.cache import Cache
from stockpot.reconcile.objects.debt import debt_stem
from stockpot.reconcile.ports import SoupKey

CHILDREN = (JOBS, PODS, DEPLOYMENTS, SERVICES)
WATCHED = (SOUPS, DATA_SHARDS, SOUP_REVISIONS, UNLEARNING_RECEIPTS, *CHILDREN)
IN_RELEASE_NAMESPACE = (JOBS, PODS, UNLEARNING_DEBTS)
"""There are no soups: only purge and sign runs, and what is owed of soups that are gone."""

Push = Callable[[SoupKey, Priority], None]
OnDeletion = Callable[[Json], None]

ENDING_S, CANCELLED_AGAIN_S = 5.0, 0.1
"""How long watches are given to end, and the pause between two cancellations."""
IDENTITY: Any = "stockpot"
"""Given to kopf, which would else look up the user's name, which an image need not have."""


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


Fingerprint = tuple[Any, ...]


def fingerprint_of(resource: Resource, thing: Json) -> Fingerprint:
    """Return what differs between two versions of an object if a reconcile is needed.

    It excludes the status of our own kinds, which the operator itself writes.
    """
    about = thing["metadata"]
    if resource not in {SOUPS, DATA_SHARDS, SOUP_REVISIONS, UNLEARNING_DEBTS}:
        return (about["uid"], about.get("resourceVersion"))
    fields = ("uid", "generation", "deletionTimestamp", "finalizers", "annotations")
    return tuple(str(about.get(field)) for field in fields)


class Watcher:
    """Watches some namespaces, on its own thread and event loop."""

    def __init__(
        self,
        cache: Cache,
        push: Push,
        on_deletion: OnDeletion,
        namespaces: Sequence[str],
        resources: Sequence[Resource] = WATCHED,
    ) -> None:
        """Prepare the watches; `start` starts them.

        Args:
            cache: Receives the objects.
            push: Called with the key of each soup that may have changed.
            on_deletion: Called with each shard that is being deleted. Must not block.
            namespaces: The watched namespaces.
            resources: The watched kinds.
        """
        self._cache, self._push, self._on_deletion = cache, push, on_deletion
        self._namespaces, self._resources = tuple(namespaces), tuple(resources)
        self._fingerprints: dict[tuple[Resource, str, str], Fingerprint] = {}
        """The last fingerprint of each object, to detect repetitions."""
        self._stop = threading.Event()
        self.ready = threading.Event()
        self._vault = Vault()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Start the watches."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the watches."""
        self._stop.set()
        self._thread.join(10)

    @property
    def is_alive(self) -> bool:
        """Whether the watches run."""
        return self._thread.is_alive()

    def handle(self, resource: Resource, type_: str | None, thing: Json) -> None:
        """Process one event of a watch."""
        place = resource, namespace_of(thing), name_of(thing)
        if type_ == "DELETED":
            self._cache.remove(resource, thing)
            self._fingerprints.pop(place, None)
        else:
            self._cache.put(resource, thing)
            fingerprint = fingerprint_of(resource, thing)
            # Not compared with the cache: a listing for another soup may have updated it before,
            # without queueing this one.
            if self._fingerprints.get(place) == fingerprint:
                return
            self._fingerprints[place] = fingerprint
            if resource == DATA_SHARDS and "deletionTimestamp" in thing["metadata"]:
                self._on_deletion(thing)
        key = key_of(resource, thing)
        if key is not None:
            self._push(key, priority_of(resource, thing))

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._watch_until_one_ends())
        finally:
            # kopf's waits on other threads end as well.
            self._stop.set()
            _end(loop, self._vault)

    async def _watch_until_one_ends(self) -> None:
        """Watch until stopped, or until one of the watches fails for good.

        kopf would then wait for the other watches, for up to minutes, in which no event arrives.
        """
        registry = kopf.OperatorRegistry()
        # A new registry has no login handler; this one uses the `kubernetes` package.
        kopf.on.login(registry=registry)(kopf.login_via_client)
        for resource in self._resources:
            self._watch(resource, registry)
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=_settings(),
            identity=IDENTITY,
            standalone=True,
            namespaces=self._namespaces,
            stop_flag=self._stop,
            ready_flag=self.ready,
            vault=self._vault,
        )
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def _watch(self, resource: Resource, registry: kopf.OperatorRegistry) -> None:
        @kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, id=resource.plural
        )
        async def on_event(event: Any, **_: Any) -> None:
            self.handle(resource, event["type"], dict(event["object"]))


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
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    # A thread of ours that does not end is abandoned, not killed.
    settings.process.ultimate_exiting_timeout = None
    # A firewall may drop a watch silently: each is ended and renewed within these times.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    for resource in CHILDREN:
        exactly = (resource.group, resource.version, resource.plural)
        settings.watching.label_selectors[exactly] = OURS
    return settings
