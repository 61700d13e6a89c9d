"""What the API server said of its objects, as new as the watch streams are. Decides nothing.

Watch streams bring changes, our own writes bring their answers, and a listing past the cache
replaces what it covers. The newest version of an object wins; one that was seen to go stays away.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from stockpot.cluster.apiserver.client import Listing
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import Resource

REMEMBERED_ENDS = 10_000
"""UIDs of objects that went: a late word about one must not bring it back."""

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of a pod whose last process has ended, as its kubelet says."""

Place = tuple[str, str]
"""Namespace and name."""


class Cache:
    """Objects by kind, namespace and name. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[Resource, dict[Place, Json]] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()

    def see(self, resource: Resource, thing: Json) -> bool:
        """Take an object in, unless a newer version is known.

        Returns:
            Whether it was news.
        """
        place = namespace_of(thing), name_of(thing)
        with self._lock:
            known = self._kinds.setdefault(resource, {})
            before = known.get(place)
            if uid_of(thing) in self._gone:
                return False
            # Another of the name, too: an old listing must not bring the one before it back.
            if before and version(before) >= version(thing):
                return False
            known[place] = thing
            return True

    def lose(self, resource: Resource, thing: Json) -> None:
        """Let an object go that was seen to be deleted."""
        with self._lock:
            self._lose(resource, thing)

    def last_phase(self, uid: str) -> str:
        """Say in which phase an object was when it went; empty where that was not seen."""
        with self._lock:
            return self._gone.get(uid, "")

    def replace(
        self,
        resource: Resource,
        namespace: str,
        listing: Listing,
        covers: Callable[[Json], bool] = lambda _: True,
    ) -> None:
        """Take in a whole listing: what it covers and does not name is gone.

        What is newer than the listing is not covered by it: a stream may have brought an object
        that was made while the listing was on its way.
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
                    self._lose(resource, thing)
        for thing in listed.values():
            self.see(resource, thing)

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Find one object."""
        with self._lock:
            return self._kinds.get(resource, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str | None = None) -> tuple[Json, ...]:
        """Find all objects of a kind, in order of name."""
        with self._lock:
            known = self._kinds.get(resource, {})
            return tuple(
                thing
                for place, thing in sorted(known.items(), key=lambda item: item[0])
                if namespace in {None, place[0]}
            )

    def _lose(self, resource: Resource, thing: Json) -> None:
        place = namespace_of(thing), name_of(thing)
        known = self._kinds.setdefault(resource, {})
        before = known.get(place)
        phase = str((thing.get("status") or {}).get("phase") or "")
        # The stream's last word of a pod is how it ended; our own, how it was before that.
        if uid_of(thing) not in self._gone or phase in ENDED:
            self._gone[uid_of(thing)] = phase
        while len(self._gone) > REMEMBERED_ENDS:
            self._gone.popitem(last=False)
        if before is not None and uid_of(before) == uid_of(thing):
            del known[place]


def version(thing: Json) -> int:
    """Say how new it is: resource versions of one kind are comparable (KEP-5504)."""
    told: Any = thing["metadata"].get("resourceVersion") or "0"
    return int(told)
