"""A person with every right, at a real API server: asks, changes, and watches all that happens."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from devcluster.controlplane import ControlPlane

from stockpot.cluster.apiserver import resources
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import Resource

PATIENCE_S = 30.0
"""For anything that a test waits for, where it says nothing else: many times what it takes."""
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SECRETS = Resource("", "v1", "secrets", "Secret")
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "roles", "Role")
BINDINGS = Resource(RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_BINDINGS = Resource(
    RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
WATCHED = (
    *resources.OURS,
    resources.JOBS,
    resources.PODS,
    resources.DEPLOYMENTS,
    resources.SERVICES,
    resources.EVENTS,
    resources.LEASES,
    resources.NAMESPACES,
)


class Refusal(Exception):
    """An answer of 400 and above."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Admin:
    """Requests as system:masters, on connections that stay. For many threads."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self._http = urllib3.PoolManager(
            num_pools=2, maxsize=32, ca_certs=str(cluster.ca), retries=False
        )
        self._headers = {"Authorization": f"Bearer {cluster.token}"}

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Json:
        answer = self._http.request(
            method,
            self.cluster.url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Content-Type": kind},
            timeout=PATIENCE_S,
        )
        answer_json: Json = json.loads(answer.data)
        if answer.status >= 400:
            raise Refusal(answer.status, answer_json.get("message", ""))
        return answer_json

    def text(self, path: str) -> str:
        answer = self._http.request("GET", self.cluster.url + path, headers=self._headers)
        return answer.data.decode()

    def create(self, resource: Resource, namespace: str | None, new: Json) -> Json:
        new = {"apiVersion": resource.api_version, "kind": resource.kind, **new}
        return self.ask("POST", resource.path(namespace) + "?fieldManager=kubectl", new)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        try:
            return self.ask("GET", resource.path(namespace, name))
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str | None = None) -> list[Json]:
        items: list[Json] = self.ask("GET", resource.path(namespace))["items"]
        return items

    def merge(
        self, resource: Resource, namespace: str | None, name: str, patch: Json, sub: str = ""
    ) -> Json:
        path = resource.path(namespace, name, sub) + "?fieldManager=kubectl-edit"
        return self.ask("PATCH", path, patch, "application/merge-patch+json")

    def status(self, resource: Resource, namespace: str | None, name: str, status: Json) -> Json:
        """Merge into a status as kubelets do: conditions by their type."""
        path = resource.path(namespace, name, "status")
        kind = "application/strategic-merge-patch+json"
        return self.ask("PATCH", path, {"status": status}, kind)

    def delete(self, resource: Resource, namespace: str | None, name: str, **options: Any) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        try:
            self.ask("DELETE", resource.path(namespace, name), body)
        except Refusal as refusal:
            if refusal.status not in {404, 409}:
                raise

    def stream(self, path: str) -> Iterator[Json]:
        """Follow a watch until it ends, or is silent for long."""
        answer = self._http.request(
            "GET",
            self.cluster.url + path,
            headers=self._headers,
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=120),
        )
        if answer.status >= 400:
            raise Refusal(answer.status, "no watch")
        rest = b""
        for chunk in answer.stream(65536, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line)


@dataclass(frozen=True)
class Happening:
    """One word of a watch."""

    type: str
    resource: Resource
    thing: Json


class Mirror:
    """All that there is, as it changes, and all that ever happened. One for a whole session."""

    def __init__(self, admin: Admin, watched: Sequence[Resource] = WATCHED) -> None:
        self._admin = admin
        self.changed = threading.Condition()
        self._things: dict[Resource, dict[tuple[str, str], Json]] = {
            resource: {} for resource in watched
        }
        self.journal: list[Happening] = []
        self.listeners: list[Callable[[Happening], None]] = []
        self._stop = False
        for resource in watched:
            threading.Thread(target=self._follow, args=(resource,), daemon=True).start()

    def stop(self) -> None:
        self._stop = True

    def of(self, resource: Resource, namespace: str) -> list[Json]:
        with self.changed:
            things = sorted(self._things[resource].items())
            return [thing for place, thing in things if place[0] == namespace]

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        with self.changed:
            return self._things[resource].get((namespace, name))

    def happened(self, resource: Resource, namespaces: Sequence[str]) -> list[Happening]:
        with self.changed:
            return [
                entry
                for entry in self.journal
                if entry.resource == resource and namespace_of(entry.thing) in namespaces
            ]

    def _follow(self, resource: Resource) -> None:
        while not self._stop:
            try:
                listing = self._admin.ask("GET", resource.path())
                self._replace(resource, listing["items"])
                version = listing["metadata"]["resourceVersion"]
                query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
                for word in self._admin.stream(f"{resource.path()}?{urlencode(query)}"):
                    if word["type"] in {"ADDED", "MODIFIED", "DELETED"}:
                        self._take(word["type"], resource, word["object"])
            except (Refusal, OSError, ValueError, urllib3.exceptions.HTTPError):
                with self.changed:
                    self.changed.wait(0.2)

    def _replace(self, resource: Resource, items: list[Json]) -> None:
        listed = {uid_of(item) for item in items}
        with self.changed:
            gone = [
                thing for thing in self._things[resource].values() if uid_of(thing) not in listed
            ]
        for thing in gone:
            self._take("DELETED", resource, thing)
        for thing in items:
            known = self.get(resource, namespace_of(thing), name_of(thing))
            if known is None or known["metadata"] != thing["metadata"]:
                self._take("ADDED" if known is None else "MODIFIED", resource, thing)

    def _take(self, type_: str, resource: Resource, thing: Json) -> None:
        happening = Happening(type_, resource, thing)
        with self.changed:
            place = namespace_of(thing), name_of(thing)
            if type_ == "DELETED":
                self._things[resource].pop(place, None)
            else:
                self._things[resource][place] = thing
            self.journal.append(happening)
            for listener in self.listeners:
                listener(happening)
            self.changed.notify_all()
