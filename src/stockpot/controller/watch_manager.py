"""The watch streams of all namespaces, each by itself: one that is gone or closed blinds no other.

Before a stream begins its namespace is listed as a whole, into the cache. What we may not see is
said once, with the verb that is missing, and tried again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.labels import OURS
from stockpot.cluster.apiserver.resources import JOBS, PODS, Resource
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.controller.watcher import CHILDREN, WATCHED, Hear, Push, Watcher
from stockpot.errors import StockpotError
from stockpot.kube.cache import Cache

log = structlog.get_logger("stockpot.streams")

RETRY_S = 5.0


@dataclass
class _Place:
    resources: Sequence[Resource]
    stream: Watcher | None = None
    was_seen: bool = False
    problem: str = ""
    next_look_s: float = 0.0


class WatchManager:
    """One stream for each namespace that we work in. For one thread."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        push: Push,
        shard_leaves: Hear,
        settings: OperatorSettings,
        begun: Callable[[str], None],
    ) -> None:
        """Watch nothing yet.

        Args:
            client: Who lists.
            cache: Where all goes.
            push: Who is told.
            shard_leaves: Told of each shard that is being deleted.
            settings: Which namespaces there are.
            begun: Told of each namespace whose stream begins: all in it is new.
        """
        self._client, self._cache, self._begun = client, cache, begun
        self._push, self._shard_leaves = push, shard_leaves
        self._places = {name: _Place(WATCHED) for name in settings.workload_namespaces}
        # We may see no soups in the release's own: only purges and signings run in it.
        self._places.setdefault(settings.release.namespace, _Place((JOBS, PODS)))
        self._release = settings.release.namespace

    @property
    def is_ready(self) -> bool:
        """Whether every namespace that can be seen was."""
        seen = self._places[self._release].was_seen
        return seen and all(place.was_seen or place.problem for place in self._places.values())

    def look_after(self) -> None:
        """Begin every stream that does not run."""
        for namespace, place in self._places.items():
            if place.stream is not None and place.stream.is_alive:
                continue
            if time.monotonic() >= place.next_look_s:
                self._begin(namespace, place)

    def stop(self) -> None:
        """Watch no more."""
        for place in self._places.values():
            if place.stream is not None:
                place.stream.stop()

    def _begin(self, namespace: str, place: _Place) -> None:
        place.next_look_s = time.monotonic() + RETRY_S
        try:
            for resource in place.resources:
                selector = OURS if resource in CHILDREN else ""
                found = self._client.list(resource, namespace, label_selector=selector)
                self._cache.replace(resource, namespace, found)
        except StockpotError as error:
            if error.message != place.problem:
                log.error(error.message, namespace=namespace, help=error.help)
            place.problem = error.message
            return
        if place.stream is not None:
            log.warning("a watch stream ended; it is begun anew", namespace=namespace)
        elif place.problem:
            log.info("the namespace can be seen", namespace=namespace)
        place.problem, place.was_seen = "", True
        told = (self._push, self._shard_leaves)
        place.stream = Watcher(self._cache, *told, [namespace], place.resources)
        place.stream.start()
        self._begun(namespace)
