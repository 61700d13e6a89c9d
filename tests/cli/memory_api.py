"""An API server in memory, for tests that need its objects and none of its rules."""

import itertools
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import ApiRequest, error_of
from stockpot.cluster.apiserver.objects import Json

STARTED_AT = "2026-11-22T12:00:00Z"


class MemoryApi(Client):
    """Stores objects by path; requests to pods are answered from `answers`."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.answers: dict[str, Json] = {}
        """Responses of pods, by address, port and path: `10.0.0.1:8081/state`."""
        self.forbidden: set[str] = set()
        """Prefixes of the paths that are answered with 403."""
        self.writes = 0
        self.unselectable = set()
        self._versions = itertools.count(1)
        self.is_closed = False

    def with_timeout(self, timeout_s: float) -> "MemoryApi":
        del timeout_s  # Answers come at once.
        return self

    def close(self) -> None:
        self.is_closed = True

    def _call(
        self,
        request: ApiRequest,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "",
    ) -> Json:
        parts = urlsplit(path)
        where = unquote(parts.path)
        if any(where.startswith(prefix) for prefix in self.forbidden):
            raise error_of(request, 403, b'{"message": "you may not", "reason": "Forbidden"}')
        if "/proxy/" in where:
            return self._proxied(request, where)
        self.writes += method != "GET"
        if method == "GET":
            if request.verb == "list":
                return self._listed(where, parse_qs(parts.query))
            return self._existing(request, where)
        assert body is not None
        if method == "POST":
            return self._store(f"{where}/{body['metadata']['name']}", body)
        if method == "PATCH" and where not in self.objects:
            return self._store(where, body)
        existing = self._existing(request, where.removesuffix("/status"))
        if method == "DELETE":
            return self.objects.pop(where)
        if where.endswith("/status"):
            return self._store(
                where.removesuffix("/status"), {**existing, "status": body["status"]}
            )
        return self._store(where, merged(existing, body))

    def edit(self, kind: str, name: str, change: Json) -> Json:
        """Merge a change into an object, as a controller or a user does."""
        path = next(path for path in self.objects if path.endswith(f"/{kind}/{name}"))
        return self._store(path, merged(self.objects[path], change))

    def of_kind(self, kind: str) -> list[Json]:
        """Return the objects of a kind."""
        return [thing for path, thing in self.objects.items() if path.split("/")[-2] == kind]

    def _store(self, path: str, thing: Mapping[str, Any]) -> Json:
        about = {
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": STARTED_AT,
            **thing["metadata"],
            "resourceVersion": str(next(self._versions)),
        }
        self.objects[path] = {**thing, "metadata": about}
        return self.objects[path]

    def _existing(self, request: ApiRequest, path: str) -> Json:
        if path not in self.objects:
            raise error_of(request, 404, b'{"message": "not there", "reason": "NotFound"}')
        return self.objects[path]

    def _listed(self, path: str, query: dict[str, list[str]]) -> Json:
        wanted, fields = (
            [pair.split("=") for pair in query.get(name, [""])[0].split(",") if pair]
            for name in ("labelSelector", "fieldSelector")
        )
        items = [
            thing
            for at, thing in sorted(self.objects.items())
            if at.rpartition("/")[0] == path
            and all(thing["metadata"].get("labels", {}).get(key) == value for key, value in wanted)
            and all(_field(thing, key) == value for key, value in fields)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(next(self._versions))}}

    def _proxied(self, request: ApiRequest, path: str) -> Json:
        pod_path, _, rest = path.partition("/proxy/")
        pod_path, _, port = pod_path.rpartition(":")
        pod = self._existing(request, pod_path)
        address = f"{pod['status'].get('podIP')}:{port}/{rest}"
        if address not in self.answers:
            raise error_of(request, 503, b'{"message": "no answer", "reason": "Unavailable"}')
        return self.answers[address]


def merged(old: Json, change: Mapping[str, Any]) -> Json:
    """Return the JSON merge patch of RFC 7386 applied to `old`."""
    new = dict(old)
    for key, value in change.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(new.get(key), Mapping):
            new[key] = merged(new[key], value)
        else:
            new[key] = value
    return new


def _field(thing: Json, path: str) -> object:
    """Return the field of an object that a selector names, as `spec.soupRef.name`."""
    value: Any = thing
    for name in path.split("."):
        value = value.get(name, {})
    return value
