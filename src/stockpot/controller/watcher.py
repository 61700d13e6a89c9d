"""Watch streams, by kopf: what happens goes into the cache, and the soup's key into the queue.

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
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.controller.queue import Priority
from stockpot.kube.cache import Cache
from stockpot.reconcile.ports import SoupKey

CHILDREN = (JOBS, PODS, DEPLOYMENTS, SERVICES)
WATCHED = (SOUPS, DATA_SHARDS, SOUP_REVISIONS, UNLEARNING_RECEIPTS, *CHILDREN)

Push = Callable[[SoupKey, Priority], None]
Hear = Callable[[Json], None]

ENDING_S, CANCELLED_AGAIN_S = 5.0, 0.1
"""How long streams are given to end, and how often they are told to."""
IDENTITY: Any = "stockpot"
"""Told, because kopf would else look our user up, whom an image need not know by a name."""


def key_of(resource: Resource, thing: Json) -> SoupKey | None:
    """Say which soup an object belongs to."""
    namespace = namespace_of(thing)
    if resource == SOUPS:
        return SoupKey(namespace, thing["metadata"]["name"])
    if resource in CHILDREN:
        labels = labels_on(thing)
        name = labels.get(SOUP)
        return SoupKey(labels.get(SOUP_NAMESPACE, namespace), name) if name else None
    name = thing.get("spec", {}).get("soupRef", {}).get("name")
    return SoupKey(namespace, name) if name else None


def priority_of(resource: Resource, thing: Json) -> Priority:
    """Say how urgent a change is: what is being deleted goes first."""
    if resource in CHILDREN:
        return Priority.CHILD
    if "deletionTimestamp" in thing["metadata"]:
        return Priority.DELETE
    return Priority.SPEC if resource in {SOUPS, DATA_SHARDS} else Priority.CHILD


Mark = tuple[Any, ...]


def mark_of(resource: Resource, thing: Json) -> Mark:
    """Say what has to differ for a word about an object to be news.

    The status of ours is not in it, which we write ourselves.
    """
    about = thing["metadata"]
    if resource not in {SOUPS, DATA_SHARDS, SOUP_REVISIONS}:
        return (about["uid"], about.get("resourceVersion"))
    fields = ("uid", "generation", "deletionTimestamp", "finalizers", "annotations")
    return tuple(str(about.get(field)) for field in fields)


class Watcher:
    """The streams, on a thread and an event loop of their own."""

    def __init__(
        self,
        cache: Cache,
        push: Push,
        shard_leaves: Hear,
        namespaces: Sequence[str],
        resources: Sequence[Resource] = WATCHED,
    ) -> None:
        """Watch nothing yet.

        Args:
            cache: Where all goes.
            push: Told which soup something happened to.
            shard_leaves: Told of each shard that is being deleted. Must not wait.
            namespaces: Where to look.
            resources: At what.
        """
        self._cache, self._push, self._shard_leaves = cache, push, shard_leaves
        self._namespaces, self._resources = tuple(namespaces), tuple(resources)
        self._marks: dict[tuple[Resource, str, str], Mark] = {}
        """What was said last of each object, to tell a repetition."""
        self._stop = threading.Event()
        self.ready = threading.Event()
        self._vault = Vault()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        self._thread.join(10)

    @property
    def is_alive(self) -> bool:
        """Whether the streams are looked after."""
        return self._thread.is_alive()

    def happened(self, resource: Resource, type_: str | None, thing: Json) -> None:
        """Take in one word of a stream."""
        place = resource, namespace_of(thing), name_of(thing)
        if type_ == "DELETED":
            self._cache.lose(resource, thing)
            self._marks.pop(place, None)
        else:
            self._cache.see(resource, thing)
            mark = mark_of(resource, thing)
            # Not by what the cache knows: a listing of another soup's may have been quicker, and
            # nobody has told this one.
            if self._marks.get(place) == mark:
                return
            self._marks[place] = mark
            if resource == DATA_SHARDS and "deletionTimestamp" in thing["metadata"]:
                self._shard_leaves(thing)
        key = key_of(resource, thing)
        if key is not None:
            self._push(key, priority_of(resource, thing))

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._until_one_ends())
        finally:
            # Whoever of kopf waits on another thread for it waits no more.
            self._stop.set()
            _end(loop, self._vault)

    async def _until_one_ends(self) -> None:
        """Watch until it is over, or one of the streams can go on no more.

        kopf would wait then, up to minutes, for the others to end, who hear of nothing any more.
        """
        registry = kopf.OperatorRegistry()
        # A registry of one's own knows no way to log in; this one is the `kubernetes` package's.
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
            self.happened(resource, event["type"], dict(event["object"]))


def _end(loop: asyncio.AbstractEventLoop, vault: Vault) -> None:
    """End a loop, what runs in it, and its connections, which the vault has.

    A watch of kopf that still waits for its answer can take being cancelled for a pause, and go on.
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
    # A thread of ours that does not end is left behind, not killed.
    settings.process.ultimate_exiting_timeout = None
    # A stream that a firewall forgot is dead: the API server ends each within these times.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    for resource in CHILDREN:
        exactly = (resource.group, resource.version, resource.plural)
        settings.watching.label_selectors[exactly] = OURS
    return settings
