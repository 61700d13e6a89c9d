"""Starts and restarts the watcher of each namespace, independently of the others.

Before a watcher starts, its namespace is listed into the cache; the watches continue from that
listing. A namespace that we may not list is logged once, with the missing permission, and retried.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.labels import OURS
from stockpot.cluster.apiserver.resources import Resource
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.controller.watcher import (
    CHILDREN,
    IN_RELEASE_NAMESPACE,
    WATCHED,
    OnDeletion,
    Push,
    Watcher,
)
from stockpot.errors import StockpotError
from stockpot.kube.cache import Cache
from stockpot.kube.gone_namespace import is_gone

log = structlog.get_logger("stockpot.watches")

RETRY_S = 5.0


@dataclass
class _Namespace:
    resources: Sequence[Resource]
    watcher: Watcher | None = None
    listed_s: float = float("-inf")
    """When it was listed last, by the monotonic clock."""
    problem: str = ""
    next_attempt_s: float = 0.0
    """When it may be started again; while it runs, when a dropped namespace is looked for again."""

    @property
    def was_listed(self) -> bool:
        return self.listed_s > float("-inf")


class WatchManager:
    """Runs one watcher for each of our namespaces. For one thread."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        push: Push,
        on_deletion: OnDeletion,
        settings: OperatorSettings,
        on_started: Callable[[str], None],
    ) -> None:
        """Prepare the watchers; `start_watchers` starts them.

        Args:
            client: Lists the namespaces.
            cache: Receives the objects.
            push: Called with the key of each soup that may have changed.
            on_deletion: Called with each shard that is being deleted.
            settings: Name the namespaces.
            on_started: Called with each namespace whose watcher starts.
        """
        self._client, self._cache, self._on_started = client, cache, on_started
        self._push, self._on_deletion = push, on_deletion
        self._namespaces = {name: _Namespace(WATCHED) for name in settings.workload_namespaces}
        self._namespaces.setdefault(settings.release.namespace, _Namespace(IN_RELEASE_NAMESPACE))
        self._release = settings.release.namespace
        self._listed = frozenset({*settings.workload_namespaces, self._release})

    def add(self, namespaces: Iterable[str]) -> None:
        """Watch more namespaces as well, until they are gone."""
        for name in namespaces:
            self._namespaces.setdefault(name, _Namespace(WATCHED))

    @property
    def is_ready(self) -> bool:
        """Whether every namespace that can be listed was listed."""
        return self._namespaces[self._release].was_listed and all(
            place.was_listed or place.problem for place in self._namespaces.values()
        )

    def was_listed(self, namespace: str) -> bool:
        """Whether what is in a namespace is in the cache. For any thread."""
        place = self._namespaces.get(namespace)
        return place is not None and place.was_listed

    def listed_s(self, namespace: str) -> float:
        """Return when a namespace was listed last, by the monotonic clock. For any thread."""
        place = self._namespaces.get(namespace)
        return place.listed_s if place else float("-inf")

    def start_watchers(self) -> None:
        """Start every watcher that does not run; end those of dropped namespaces that are gone."""
        for namespace, place in list(self._namespaces.items()):
            if time.monotonic() < place.next_attempt_s:
                continue
            if place.watcher is None or not place.watcher.is_alive:
                self._start(namespace, place)
            elif namespace not in self._listed:
                self._end_if_gone(namespace, place)

    def stop(self) -> None:
        """Stop every watcher."""
        for place in self._namespaces.values():
            if place.watcher is not None:
                place.watcher.stop()

    def _start(self, namespace: str, place: _Namespace) -> None:
        place.next_attempt_s = time.monotonic() + RETRY_S
        watcher = Watcher(self._cache, self._push, self._on_deletion, namespace, place.resources)
        began_s = time.monotonic()
        try:
            for resource in place.resources:
                listing = self._client.list_packed(
                    resource,
                    namespace,
                    partial(watcher.take, resource),
                    label_selector=OURS if resource in CHILDREN else "",
                )
                self._cache.replace(resource, namespace, listing)
                watcher.continue_from(resource, listing.resource_version)
        except StockpotError as error:
            self._report(namespace, place, error)
            return
        if place.watcher is not None:
            log.warning("a watcher ended, and is restarted", namespace=namespace)
        elif place.problem:
            log.info("the namespace can be listed now", namespace=namespace)
        place.problem, place.listed_s = "", began_s
        place.watcher = watcher
        place.watcher.start()
        self._on_started(namespace)

    def _end_if_gone(self, namespace: str, place: _Namespace) -> None:
        """End a watch that would go on until its timeout: it brings no word of the end itself."""
        place.next_attempt_s = time.monotonic() + RETRY_S
        with suppress(StockpotError):
            if is_gone(self._client, namespace):
                if place.watcher is not None:
                    place.watcher.stop()
                self._forget(namespace)

    def _forget(self, namespace: str) -> None:
        log.info("the namespace is gone, and is not watched any more", namespace=namespace)
        self._cache.forget_namespace(namespace)
        del self._namespaces[namespace]

    def _report(self, namespace: str, place: _Namespace, error: StockpotError) -> None:
        """Log once why a namespace is not watched; forget what was in one that is gone."""
        message, advice = error.message, error.help
        with suppress(StockpotError):
            if is_gone(self._client, namespace):
                if namespace not in self._listed:
                    self._forget(namespace)
                    return
                self._cache.forget_namespace(namespace)
                message = f"workloadNamespaces names {namespace}, and there is no such namespace"
                advice = (
                    f"kubectl create namespace {namespace} and helm upgrade the release; or remove "
                    "it from workloadNamespaces"
                )
        if message != place.problem:
            log.error(message, namespace=namespace, help=advice)
        place.problem = message
