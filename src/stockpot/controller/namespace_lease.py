"""One release works in a namespace: the leader says so in each, and works only where it may.

A namespace that is being deleted takes away the Lease and the RoleBinding by which we work there,
while its shards still wait to be forgotten. So both carry our finalizer, from before the first
round of the namespace until the last of its soups and shards is gone.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.election import Scope
from stockpot.cluster.apiserver.errors import NamespaceEnding, NotFound
from stockpot.cluster.apiserver.resources import ROLE_BINDINGS
from stockpot.errors import StockpotError

log = structlog.get_logger("stockpot.scope")

EVERY_S = 4.0


@dataclass
class _Place:
    scope: Scope
    is_pinned: bool | None = None
    """Whether Lease and RoleBinding stay; None: nobody looked yet."""
    is_ours: bool = False
    """Whether it was, when it was last tried."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class NamespaceLeases:
    """The Scope leases of all workload namespaces, on a thread of their own."""

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        release: str,
        binding: str,
        now: Callable[[], datetime],
        is_used: Callable[[str], bool],
        begun: Callable[[str], None],
    ) -> None:
        """Keep nothing yet.

        Args:
            client: Whose connections are used.
            namespaces: Where soups may be.
            release: `<namespace>/<name>`, by which we are known to others.
            binding: Name of our RoleBinding in each; empty: our rights are not of the namespace.
            now: The clock.
            is_used: Whether a soup or shard is in a namespace.
            begun: Told of a namespace that is ours from now on: what waits there need not wait.
        """
        self._client, self._binding = client, binding
        self._is_used, self._begun = is_used, begun
        self._places = {name: _Place(Scope(client, name, release, now)) for name in namespaces}
        self.problems: dict[str, str] = {}
        """Why we may not work in a namespace, by its name."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scope", daemon=True)

    def start(self) -> None:
        """Take what is free."""
        self._thread.start()

    def stop(self) -> None:
        """Keep none any longer: they run out by themselves.

        Where nothing needs us any more, nothing of ours may be in the way of an uninstall.
        """
        self._stop.set()
        if not self._thread.is_alive():
            return
        self._thread.join()
        for namespace, place in self._places.items():
            if place.is_pinned and not self._is_used(namespace):
                self._keep(namespace, place)

    def is_ours(self, namespace: str) -> bool:
        """Whether we may work there at this moment, and will until its last shard is forgotten."""
        place = self._places.get(namespace)
        if place is None or not place.scope.is_held:
            return False
        if not place.is_pinned:
            self._keep(namespace, place)
        return bool(place.is_pinned)

    def _run(self) -> None:
        while not self._stop.is_set():
            for namespace, place in self._places.items():
                self._keep(namespace, place)
            self._stop.wait(EVERY_S)

    def _keep(self, namespace: str, place: _Place) -> None:
        try:
            with place.lock:
                self._hold(namespace, place)
        except NamespaceEnding:
            place.is_pinned = False  # There is nothing left in it that would need us.
        except StockpotError as error:
            if self.problems.get(namespace) != error.message:
                log.error(error.message, namespace=namespace, help=error.help)
            self.problems[namespace] = error.message
            place.is_ours = False
        else:
            if not place.is_ours:
                place.is_ours = True
                self._begun(namespace)
            if self.problems.pop(namespace, None):
                log.info("the namespace is ours to work in", namespace=namespace)

    def _hold(self, namespace: str, place: _Place) -> None:
        pinned = self._is_used(namespace)
        if pinned and not place.is_pinned:
            self._pin(namespace, (FINALIZER,))
        place.scope.keep(finalizers=(FINALIZER,) if pinned else ())
        if not pinned and place.is_pinned is not False:
            # Last of all: without it we could not even say so.
            self._pin(namespace, ())
        place.is_pinned = pinned

    def _pin(self, namespace: str, finalizers: tuple[str, ...]) -> None:
        if not self._binding:
            return
        try:
            live = self._client.get(ROLE_BINDINGS, namespace, self._binding)
        except NotFound:
            return  # We are allowed by something else.
        others = [one for one in live["metadata"].get("finalizers", ()) if one != FINALIZER]
        wanted = [*others, *finalizers]
        if wanted == live["metadata"].get("finalizers", []):
            return
        patch = {
            "metadata": {
                "resourceVersion": live["metadata"]["resourceVersion"],
                "finalizers": wanted or None,
            }
        }
        self._client.merge_patch(ROLE_BINDINGS, namespace, self._binding, patch)
