"""Remembers the namespaces with objects that need the operator, whatever the settings list.

A namespace may be dropped from `workloadNamespaces` while shards live in it. The names stand in an
annotation of a Lease in the operator's namespace, from before our finalizers are put there until
they are removed.
"""

import json
import threading
from contextlib import suppress

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import AlreadyExists, Conflict
from stockpot.cluster.apiserver.objects import Json, annotations_on
from stockpot.cluster.apiserver.resources import LEASES

LEASE = "stockpot-namespaces"
ANNOTATION = "stockpot.dev/namespaces"
ATTEMPTS = 5


class PinnedNamespaces:
    """The names, on the API server. Thread-safe."""

    def __init__(self, client: Client, release_namespace: str) -> None:
        self._client, self._namespace = client, release_namespace
        self._lock = threading.Lock()
        self._known: frozenset[str] | None = None

    def read(self) -> frozenset[str]:
        """Read the names.

        Raises:
            StockpotError: The API server does not answer, or refuses.
        """
        with self._lock:
            self._known = _names(self._client.find(LEASES, self._namespace, LEASE))
            return self._known

    def set_pinned(self, name: str, *, is_pinned: bool) -> None:
        """Add or remove a name; writes only a difference.

        Raises:
            Conflict: Another process wrote the names during every attempt.
        """
        with self._lock:
            if self._known is not None and (name in self._known) is is_pinned:
                return
            for left in reversed(range(ATTEMPTS)):
                live = self._client.find(LEASES, self._namespace, LEASE)
                names = _names(live)
                wanted = names | {name} if is_pinned else names - {name}
                if wanted == names:
                    self._known = names
                    return
                try:
                    self._write(live, wanted)
                except (AlreadyExists, Conflict):
                    if not left:
                        raise
                else:
                    self._known = wanted
                    return

    def _write(self, live: Json | None, names: frozenset[str]) -> None:
        text = json.dumps(sorted(names))
        if live is None:
            metadata = {
                "name": LEASE,
                "namespace": self._namespace,
                "annotations": {ANNOTATION: text},
            }
            lease = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
            self._client.create(LEASES, lease)
            return
        annotations = {**annotations_on(live), ANNOTATION: text}
        metadata = {**live["metadata"], "annotations": annotations}
        self._client.replace(LEASES, {**live, "metadata": metadata})


def _names(lease: Json | None) -> frozenset[str]:
    text = annotations_on(lease).get(ANNOTATION, "[]") if lease else "[]"
    with suppress(ValueError):
        return frozenset(map(str, json.loads(text)))
    return frozenset()  # Edited by hand: the listed namespaces are written again.
