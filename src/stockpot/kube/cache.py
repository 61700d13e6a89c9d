"""The informer cache: the API server's objects, as new as the watches are.

It is fed by watches, by the responses to our own writes, and by lists, each of which replaces what
it covers. The newest version of an object wins; a deleted object does not come back.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from stockpot.cluster.apiserver.client import Listing
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import Resource

REMEMBERED_ENDS = 10_000
"""Number of remembered UIDs of deleted objects, which late events must not bring back."""

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of a pod whose last process has ended, as reported by its kubelet."""

Place = tuple[str, str]
"""Namespace and name."""


class Cache:
    """Objects by kind, namespace and name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[Resource, dict[Place, Json]] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()

    def put(self, resource: Resource, thing: Json) -> bool:
        """Store an object, unless a newer version is known.

        Returns:
            Whether it was stored.
        """
        place = namespace_of(thing), name_of(thing)
        with self._lock:
            known = self._kinds.setdefault(resource, {})
            before = known.get(place)
            if uid_of(thing) in self._gone:
                return False
            # Also for another UID: an old list must not bring back a predecessor of that name.
            if before and version(before) >= version(thing):
                return False
            known[place] = thing
            return True

    def remove(self, resource: Resource, thing: Json) -> None:
        """Remove an object that was deleted."""
        with self._lock:
            self._remove(resource, thing)

    def last_phase(self, uid: str) -> str:
        """Return the phase of a deleted object at its end; empty if its end was not observed."""
        with self._lock:
            return self._gone.get(uid, "")

    def replace(
        self,
        resource: Resource,
        namespace: str,
        listing: Listing,
        covers: Callable[[Json], bool] = lambda _: True,
    ) -> None:
        """Replace the cached objects of a namespace, within the listing's scope, by a listing.

        Keeps objects newer than the listing: a watch may have reported one that was created after
        the list was read.

        Args:
            resource: The kind of the objects.
            namespace: The namespace that was listed.
            listing: The objects that exist.
            covers: Whether the listing would contain an object (label selectors).
        """
        listed = {name_of(thing): thing for thing in listing.items}
        as_of = int(listing.resource_version)
        with self._lock:
            known = self._kinds.setdefault(resource, {})
            for place, thing in list(known.items()):
                there = listed.get(place[1])
                is_same = there is not None and uid_of(there) == uid_of(thing)
                is_older = version(thing) <= as_of
                if place[0] == namespace and covers(thing) and is_older and not is_same:
                    self._remove(resource, thing)
        for thing in listed.values():
            self.put(resource, thing)

    def forget_namespace(self, namespace: str) -> None:
        """Remove every object of a namespace that is gone."""
        with self._lock:
            for resource, known in self._kinds.items():
                for place, thing in list(known.items()):
                    if place[0] == namespace:
                        self._remove(resource, thing)

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Return one object; None if it is not cached."""
        with self._lock:
            return self._kinds.get(resource, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str | None = None) -> tuple[Json, ...]:
        """Return all objects of a kind, sorted by namespace and name."""
        with self._lock:
            known = self._kinds.get(resource, {})
            return tuple(
                thing
                for place, thing in sorted(known.items(), key=lambda item: item[0])
                if namespace in {None, place[0]}
            )

    def _remove(self, resource: Resource, thing: Json) -> None:
        place = namespace_of(thing), name_of(thing)
        known = self._kinds.setdefault(resource, {})
        before = known.get(place)
        phase = str((thing.get("status") or {}).get("phase") or "")
        # A watch's DELETED event has the final phase of a pod; our own deletion an earlier one.
        if uid_of(thing) not in self._gone or phase in ENDED:
            self._gone[uid_of(thing)] = phase
        while len(self._gone) > REMEMBERED_ENDS:
            self._gone.popitem(last=False)
        if before is not None and uid_of(before) == uid_of(thing):
            del known[place]


def version(thing: Json) -> int:
    """Return the resource version, which is comparable within one kind (KEP-5504)."""
    text: Any = thing["metadata"].get("resourceVersion") or "0"
    return int(text)
