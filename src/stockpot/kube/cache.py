"""The informer cache: the API server's objects, as new as the watches are.

It is fed by watches, by the responses to our own writes, and by lists, each of which replaces what
it covers. The newest version of an object wins; a deleted object does not come back.

Objects are indexed by the soup that they belong to, so that a round of one soup costs the same
whatever else there is. Objects of our own kinds, of which there may be ten thousands, are kept as
JSON text, a fifth of the memory; those that rounds read lately are kept parsed beside it.
"""

import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import AnyObject
from stockpot.cluster.apiserver.client import Listing
from stockpot.cluster.apiserver.labels import SOUP_UID
from stockpot.cluster.apiserver.objects import Json, labels_on, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    OURS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_DEBTS,
    UNLEARNING_RECEIPTS,
    Resource,
)

REMEMBERED_ENDS = 10_000
"""Number of remembered UIDs of deleted objects, which late events must not bring back."""

MOST_PARSED = 8 << 20
"""Objects that are kept parsed, by the bytes of their JSON: 5,000 shards; a parsed one takes eight
times as much."""

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of a pod whose last process has ended, as reported by its kubelet."""

UNREAD_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"

Place = tuple[str, str]
"""Namespace and name."""


class CachedObject:
    """One object of the API server, at one version. Never changes."""

    __slots__ = ("_content", "model", "name", "namespace", "soup", "uid", "version")

    def __init__(self, resource: Resource, thing: Json) -> None:
        """Keep an object, without what nobody reads.

        Args:
            resource: Its kind.
            thing: The object; it is changed.
        """
        drop_unread(thing)
        self.namespace, self.name = sys.intern(namespace_of(thing)), name_of(thing)
        self.uid, self.version = uid_of(thing), version(thing)
        self.soup = sys.intern(soup_index(resource, thing))
        """What `of_soup` finds it by: see `soup_index`."""
        self.model: AnyObject | None = None
        """The object of our own kind, while it is kept parsed."""
        self._content: Json | bytes = thing
        if resource in OURS:
            self._content = json.dumps(thing, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def json(self) -> Json:
        """The object as the API server sent it."""
        if isinstance(self._content, bytes):
            thing: Json = json.loads(self._content)
            return thing
        return self._content

    @property
    def size_bytes(self) -> int:
        """The size of its JSON; 0 for kinds that are kept as they are."""
        return len(self._content) if isinstance(self._content, bytes) else 0


class _Kind:
    """The objects of one kind."""

    def __init__(self) -> None:
        self.by_place: dict[Place, CachedObject] = {}
        self.by_soup: dict[Place, dict[str, CachedObject]] = {}
        """By namespace and soup, then by name."""

    def add(self, new: CachedObject) -> None:
        self.drop(self.by_place.get((new.namespace, new.name)))
        self.by_place[new.namespace, new.name] = new
        self.by_soup.setdefault((new.namespace, new.soup), {})[new.name] = new

    def drop(self, old: CachedObject | None) -> None:
        if old is None:
            return
        del self.by_place[old.namespace, old.name]
        siblings = self.by_soup[old.namespace, old.soup]
        del siblings[old.name]
        if not siblings:
            del self.by_soup[old.namespace, old.soup]

    def within(self, namespace: str, soup: str | None) -> list[CachedObject]:
        if soup is not None:
            return list(self.by_soup.get((namespace, soup), {}).values())
        return [known for known in self.by_place.values() if known.namespace == namespace]


class Cache:
    """Objects by kind, namespace and name, and by soup. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[Resource, _Kind] = {}
        self._gone: OrderedDict[str, str] = OrderedDict()
        self._parsed: OrderedDict[CachedObject, None] = OrderedDict()
        """The objects that are kept parsed, the least recently read first."""
        self._parsed_bytes = 0

    def put(self, resource: Resource, thing: Json) -> bool:
        """Store an object, unless a newer version is known.

        Returns:
            Whether it was stored.
        """
        place, uid, newest = (namespace_of(thing), name_of(thing)), uid_of(thing), version(thing)
        with self._lock:
            if self._is_old(resource, place, uid, newest):
                return False
        return self._put(resource, CachedObject(resource, thing))

    def _put(self, resource: Resource, new: CachedObject) -> bool:
        place = new.namespace, new.name
        with self._lock:
            if self._is_old(resource, place, new.uid, new.version):
                return False
            known = self._kinds.setdefault(resource, _Kind())
            self._drop_parsed(known.by_place.get(place))
            known.add(new)
            return True

    def remove(self, resource: Resource, thing: Json) -> None:
        """Remove an object that was deleted."""
        phase = str((thing.get("status") or {}).get("phase") or "")
        with self._lock:
            self._remove(resource, (namespace_of(thing), name_of(thing)), uid_of(thing), phase)

    def last_phase(self, uid: str) -> str:
        """Return the phase of a deleted object at its end; empty if its end was not observed."""
        with self._lock:
            return self._gone.get(uid, "")

    def replace(
        self,
        resource: Resource,
        namespace: str,
        listing: Listing[Json | CachedObject],
        covers: Callable[[Json], bool] = lambda _: True,
        *,
        soup: str | None = None,
    ) -> None:
        """Replace the cached objects of a namespace, within the listing's scope, by a listing.

        Keeps objects newer than the listing: a watch may have reported one that was created after
        the list was read.

        Args:
            resource: The kind of the objects.
            namespace: The namespace that was listed.
            listing: The objects that exist.
            covers: Whether the listing would contain an object (label selectors).
            soup: The soup that was listed; None for all.
        """
        items = [
            thing if isinstance(thing, CachedObject) else CachedObject(resource, thing)
            for thing in listing.items
        ]
        listed = {thing.name: thing.uid for thing in items}
        as_of = int(listing.resource_version)
        with self._lock:
            for known in self._kinds.setdefault(resource, _Kind()).within(namespace, soup):
                is_older = known.version <= as_of
                if is_older and listed.get(known.name) != known.uid and covers(known.json):
                    phase = "" if resource in OURS else _phase(known.json)
                    self._remove(resource, (namespace, known.name), known.uid, phase)
        for thing in items:
            self._put(resource, thing)

    def forget_namespace(self, namespace: str) -> None:
        """Remove every object of a namespace that is gone."""
        with self._lock:
            for resource, kind in self._kinds.items():
                for known in kind.within(namespace, None):
                    phase = "" if resource in OURS else _phase(known.json)
                    self._remove(resource, (namespace, known.name), known.uid, phase)

    def find(self, resource: Resource, namespace: str, name: str) -> CachedObject | None:
        """Return one object; None if it is not cached."""
        with self._lock:
            kind = self._kinds.get(resource)
            return kind.by_place.get((namespace, name)) if kind else None

    def of_soup(self, resource: Resource, namespace: str, soup: str) -> tuple[CachedObject, ...]:
        """Return the objects of one soup, sorted by name.

        Args:
            resource: Their kind.
            namespace: Their namespace.
            soup: The soup's name for shards and Soups, and else its UID.
        """
        with self._lock:
            kind = self._kinds.get(resource)
            things = kind.within(namespace, soup) if kind else []
        return tuple(sorted(things, key=_name))

    def soups(self, resource: Resource, namespace: str) -> frozenset[str]:
        """Return the soups that have objects of a kind: names for shards and Soups, else UIDs."""
        with self._lock:
            kind = self._kinds.get(resource)
            places = list(kind.by_soup) if kind else []
        return frozenset(soup for place, soup in places if place == namespace)

    def model(self, known: CachedObject) -> AnyObject:
        """Parse an object of our own kinds, or return what was parsed before.

        Raises:
            Refused: It is invalid for this version.
        """
        model = known.model
        if model is None:
            model = read_lenient(known.json)
        with self._lock:
            if known.model is None:
                known.model = model
                self._parsed_bytes += known.size_bytes
            self._parsed[known] = None
            self._parsed.move_to_end(known)
            while self._parsed_bytes > MOST_PARSED and len(self._parsed) > 1:
                self._drop_parsed(next(iter(self._parsed)))
        return model

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """Return the JSON of one object; None if it is not cached."""
        known = self.find(resource, namespace, name)
        return known.json if known else None

    def list(self, resource: Resource, namespace: str | None = None) -> tuple[Json, ...]:
        """Return the JSON of all objects of a kind, sorted by namespace and name."""
        with self._lock:
            kind = self._kinds.get(resource)
            places = sorted(kind.by_place.items()) if kind and namespace is None else []
            things = [known for _, known in places]
            if kind and namespace is not None:
                things = sorted(kind.within(namespace, None), key=_name)
        return tuple(known.json for known in things)

    def _is_old(self, resource: Resource, place: Place, uid: str, newest: int) -> bool:
        if uid in self._gone:
            return True
        kind = self._kinds.get(resource)
        before = kind.by_place.get(place) if kind else None
        # Also for another UID: an old list must not bring back a predecessor of that name.
        return before is not None and before.version >= newest

    def _remove(self, resource: Resource, place: Place, uid: str, phase: str) -> None:
        # A watch's DELETED event has the final phase of a pod; our own deletion an earlier one.
        if uid not in self._gone or phase in ENDED:
            self._gone[uid] = phase
        while len(self._gone) > REMEMBERED_ENDS:
            self._gone.popitem(last=False)
        kind = self._kinds.setdefault(resource, _Kind())
        before = kind.by_place.get(place)
        if before is not None and before.uid == uid:
            self._drop_parsed(before)
            kind.drop(before)

    def _drop_parsed(self, known: CachedObject | None) -> None:
        if known is not None and known in self._parsed:
            del self._parsed[known]
            self._parsed_bytes -= known.size_bytes
            known.model = None


def version(thing: Json) -> int:
    """Return the resource version, which is comparable within one kind (KEP-5504)."""
    text: Any = thing["metadata"].get("resourceVersion") or "0"
    return int(text)


def soup_index(resource: Resource, thing: Json) -> str:
    """Return the soup that an object is found by; empty where it names none.

    A shard names its soup, whichever has that name; all others are of one soup, by its UID.
    """
    spec = thing.get("spec") or {}
    if resource == SOUPS:
        return name_of(thing)
    if resource == DATA_SHARDS:
        return str((spec.get("soupRef") or {}).get("name", ""))
    if resource in {SOUP_REVISIONS, UNLEARNING_RECEIPTS}:
        return str((spec.get("soupRef") or {}).get("uid", ""))
    if resource == UNLEARNING_DEBTS:
        return str((spec.get("soup") or {}).get("uid", ""))
    return labels_on(thing).get(SOUP_UID, "")


def drop_unread(thing: Json) -> None:
    """Remove what no code reads from an object, in place."""
    metadata = thing["metadata"]
    metadata.pop("managedFields", None)
    if annotations := metadata.get("annotations"):
        annotations.pop(UNREAD_ANNOTATION, None)


def jsons(things: Iterable[CachedObject]) -> list[Json]:
    """Return the JSON of each object."""
    return [known.json for known in things]


def _name(known: CachedObject) -> str:
    return known.name


def _phase(thing: Json) -> str:
    return str((thing.get("status") or {}).get("phase") or "")
