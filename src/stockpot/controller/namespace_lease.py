"""Holds each workload namespace by a Lease, so that only one release works in it.

The deletion of a namespace would delete the Lease and the RoleBinding that permits our work, while
its shards still have to be unlearned. So both carry our finalizer, from before the first reconcile
in the namespace until the last of its soups and shards is gone.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.election import NamespaceLease
from stockpot.cluster.apiserver.errors import Forbidden, NamespaceEnding, NotFound
from stockpot.cluster.apiserver.pinned_namespaces import PinnedNamespaces
from stockpot.cluster.apiserver.resources import ROLE_BINDINGS
from stockpot.errors import StockpotError
from stockpot.kube.gone_namespace import is_gone

log = structlog.get_logger("stockpot.namespaces")

EVERY_S = 4.0


@dataclass
class _Namespace:
    lease: NamespaceLease
    is_pinned: bool | None = None
    """Whether Lease and RoleBinding carry our finalizer; None before the first check."""
    is_ours: bool = False
    """Whether the last attempt to hold the namespace succeeded."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class NamespaceLeases:
    """Keeps the Leases of all workload namespaces, on its own thread."""

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        release: str,
        binding: str,
        now: Callable[[], datetime],
        is_used: Callable[[str], bool],
        on_acquired: Callable[[str], None],
        pinned: PinnedNamespaces,
    ) -> None:
        """Prepare the Leases; `start` acquires them.

        Args:
            client: The client that reads and writes them.
            namespaces: The workload namespaces.
            release: `<namespace>/<name>`, the identity of our release.
            binding: Name of our RoleBinding in each namespace; empty if our permissions do not
                come from the namespace.
            now: The clock.
            is_used: Whether a namespace contains a soup or shard.
            on_acquired: Called with each namespace that is acquired.
            pinned: Remembers the namespaces in which our finalizers are.
        """
        self._client, self._binding, self._release, self._now = client, binding, release, now
        self._is_used, self._on_acquired, self._pinned = is_used, on_acquired, pinned
        self._listed = frozenset(namespaces)
        self._namespaces: dict[str, _Namespace] = {}
        self.add(namespaces)
        self.problems: dict[str, str] = {}
        """Why we may not work in a namespace, by its name."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scope", daemon=True)

    def add(self, namespaces: Iterable[str]) -> None:
        """Keep the Leases of more namespaces as well; call it before `start`."""
        for name in namespaces:
            lease = NamespaceLease(self._client, name, self._release, self._now)
            self._namespaces.setdefault(name, _Namespace(lease))

    def start(self) -> None:
        """Take what is free."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing: the Leases expire.

        Removes our finalizers in namespaces without soups and shards, where they would block an
        uninstall.
        """
        self._stop.set()
        if not self._thread.is_alive():
            return
        self._thread.join()
        for namespace, place in self._namespaces.items():
            if place.is_pinned and not self._is_used(namespace):
                self._keep(namespace, place)

    def is_ours(self, namespace: str) -> bool:
        """Whether we may work in the namespace now, and until its last shard is unlearned."""
        place = self._namespaces.get(namespace)
        if place is None or not place.lease.is_held:
            return False
        if not place.is_pinned:
            self._keep(namespace, place)
        return bool(place.is_pinned)

    def _run(self) -> None:
        while not self._stop.is_set():
            for namespace, place in list(self._namespaces.items()):
                self._keep(namespace, place)
            self._stop.wait(EVERY_S)

    def _keep(self, namespace: str, place: _Namespace) -> None:
        try:
            with place.lock:
                self._hold(namespace, place)
        except NamespaceEnding:
            place.is_pinned = False  # Nothing in it needs us any more.
        except StockpotError as error:
            if self._was_forgotten(namespace, place):
                return
            message, advice = self._explanation(namespace, error)
            if self.problems.get(namespace) != message:
                log.error(message, namespace=namespace, help=advice)
            self.problems[namespace] = message
            place.is_ours = False
        else:
            if not place.is_ours:
                place.is_ours = True
                self._on_acquired(namespace)
            if self.problems.pop(namespace, None):
                log.info("the namespace is held by this release now", namespace=namespace)

    def _explanation(self, namespace: str, error: StockpotError) -> tuple[str, str]:
        """Say why a namespace is not held, and what to do."""
        if not (isinstance(error, Forbidden) and self._binding):
            return error.message, error.help
        message = f"the operator has no rights in the namespace {namespace}: {error.server_message}"
        advice = (
            f"the RoleBinding {self._binding} grants them, and a namespace that was deleted and "
            f"made again has none: helm upgrade the release, or remove {namespace} from "
            "workloadNamespaces"
        )
        return message, advice

    def _was_forgotten(self, namespace: str, place: _Namespace) -> bool:
        """Forget a namespace that is gone; a listed one may be made again."""
        place.is_ours = False
        try:
            if not is_gone(self._client, namespace):
                return False
            self._pinned.set_pinned(namespace, is_pinned=False)
        except StockpotError:
            return False
        place.is_pinned = False
        if namespace in self._listed:
            return False
        self._namespaces.pop(namespace, None)
        return True

    def _hold(self, namespace: str, place: _Namespace) -> None:
        pinned = self._is_used(namespace)
        if pinned and not place.is_pinned:
            # First of all: whatever the settings list after a restart, we come back.
            self._pinned.set_pinned(namespace, is_pinned=True)
            self._pin(namespace, (FINALIZER,))
        place.lease.keep(finalizers=(FINALIZER,) if pinned else ())
        if not pinned and place.is_pinned is not False:
            # Last of all: without the RoleBinding we could not write the Lease.
            self._pin(namespace, ())
            self._pinned.set_pinned(namespace, is_pinned=False)
        place.is_pinned = pinned
        if not pinned and namespace not in self._listed:
            self._leave(namespace, place)

    def _leave(self, namespace: str, place: _Namespace) -> None:
        """Leave a dropped namespace to any other release: nothing in it needs us any more."""
        self._namespaces.pop(namespace, None)
        log.info("nothing in a dropped namespace needs the operator any more", namespace=namespace)
        place.lease.release()

    def _pin(self, namespace: str, finalizers: tuple[str, ...]) -> None:
        if not self._binding:
            return
        try:
            live = self._client.get(ROLE_BINDINGS, namespace, self._binding)
        except NotFound:
            return  # Our permissions come from elsewhere.
        others = [name for name in live["metadata"].get("finalizers", ()) if name != FINALIZER]
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
