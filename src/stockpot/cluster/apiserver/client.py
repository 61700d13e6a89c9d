"""A client of the Kubernetes API that speaks raw JSON: objects are dicts, as the server has them.

Configuration and credentials are the `kubernetes` package's; its typed models are left alone,
for they cost memory and hide fields that they do not know. May be used by many threads.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from stockpot.cluster.apiserver.errors import (
    ApiRequest,
    NotFound,
    ResourceExpired,
    Unavailable,
    error_of,
)
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import PODS, Resource

if TYPE_CHECKING:  # An extra: see `stockpot.extras`.
    from kubernetes.client import Configuration

FIELD_MANAGER = "stockpot"
WRITING = urlencode({"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"})
"""Said of every write: a field that the API server does not know is an error, never dropped."""
TIMEOUT_S = 20.0
"""Of one call, its retries included."""
CONNECT_TIMEOUT_S = 5.0
PAGE = 500
"""Objects asked for at once: the API server and we hold one page in memory, not all."""
RESTARTS = 3
"""How often a listing whose continuation expired starts anew."""
PATIENCE = 4
"""How often a call is tried that the API server has no time for."""


@dataclass(frozen=True)
class Listing:
    """Objects as they were at one version of the world."""

    items: tuple[Json, ...]
    resource_version: str
    """Where a watch goes on."""


class Client:
    """Calls to one API server, as one identity."""

    def __init__(self, configuration: "Configuration", *, timeout_s: float = TIMEOUT_S) -> None:
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415

        self._configuration = configuration
        self._pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._lock = threading.Lock()
        self._timeout_s = timeout_s

    def within(self, timeout_s: float) -> "Client":
        """Make a client that gives up earlier or later, on the same connections."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _timeout_s=timeout_s)
        return other

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """Read one object.

        Raises:
            NotFound: There is none.
        """
        question = ApiRequest("get", resource.full_name, namespace, name)
        return self._ask(question, "GET", resource.path(namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        """Read one object; None where there is none."""
        try:
            return self.get(resource, namespace, name)
        except NotFound:
            return None

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Listing:
        """Read all objects of a namespace, or of all, page by page.

        Args:
            resource: What.
            namespace: None: of all namespaces.
            label_selector: `a=b,c`.
            field_selector: `involvedJson.uid=…`.
            resource_version: Empty: as new as can be. `0`: whatever the server has at hand.
        """
        asked = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
        }
        question = ApiRequest("list", resource.full_name, namespace)
        for left in reversed(range(RESTARTS)):
            try:
                return self._pages(question, resource, resource.path(namespace), asked)
            except ResourceExpired:
                # Half of an older world and half of a newer one would be no world at all.
                if not left:
                    raise
        raise AssertionError  # pragma: no cover

    def create(self, resource: Resource, new: Json) -> Json:
        """Store a new object, in the namespace that it says.

        Raises:
            AlreadyExists: One of the name is there.
            NamespaceEnding: Its namespace is being deleted.
            Invalid: It breaks a rule.
        """
        namespace, name = _address(new)
        question = ApiRequest("create", resource.full_name, namespace, name)
        return self._ask(question, "POST", f"{resource.path(namespace)}?{WRITING}", new)

    def replace(self, resource: Resource, changed: Json) -> Json:
        """Replace an object by what was made of its newest form.

        Raises:
            Conflict: It is no longer the version that `metadata.resourceVersion` names.
        """
        return self._put(resource, changed, "")

    def replace_status(self, resource: Resource, changed: Json) -> Json:
        """Replace an object's status, and nothing else of it.

        Raises:
            Conflict: It is no longer the version that `metadata.resourceVersion` names.
        """
        return self._put(resource, changed, "status")

    def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Json:
        """Change some fields (RFC 7386); a `metadata.resourceVersion` in it must still be so.

        Raises:
            Conflict: It is not.
            NotFound: There is no object of the name.
        """
        question = ApiRequest("patch", resource.full_name, namespace, name)
        path = f"{resource.path(namespace, name)}?{WRITING}"
        return self._ask(question, "PATCH", path, patch, "application/merge-patch+json")

    def apply(self, resource: Resource, told: Json) -> Json:
        """Own the fields that are told, whoever owned them before (server-side apply).

        An object that is not there is created; fields of ours that are told no more go away.
        """
        namespace, name = _address(told)
        question = ApiRequest("patch", resource.full_name, namespace, name)
        path = f"{resource.path(namespace, name)}?{WRITING}&force=true"
        # JSON is YAML, and the server knows apply patches under this name.
        return self._ask(question, "PATCH", path, told, "application/apply-patch+yaml")

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Delete an object, and after it what it owns.

        Args:
            resource: Of which kind.
            namespace: Where.
            name: Which.
            uid: Only that object, and not a later one of the name: else Conflict.
            propagation: `Background`, `Foreground`, or `Orphan`.
        """
        question = ApiRequest("delete", resource.full_name, namespace, name)
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        self._ask(question, "DELETE", resource.path(namespace, name), options)

    def ask_pod(self, namespace: str, name: str, port: int, path: str) -> Json:
        """Ask a pod over HTTP, through the API server: for people, who are not on its network."""
        question = ApiRequest("get", "pods/proxy", namespace, name)
        return self._ask(
            question, "GET", f"{PODS.path(namespace, f'{name}:{port}', 'proxy')}/{path}"
        )

    def _put(self, resource: Resource, changed: Json, subresource: str) -> Json:
        namespace, name = _address(changed)
        full_name = resource.full_name + (f"/{subresource}" if subresource else "")
        question = ApiRequest("update", full_name, namespace, name)
        path = f"{resource.path(namespace, name, subresource)}?{WRITING}"
        return self._ask(question, "PUT", path, changed)

    def _pages(
        self, question: ApiRequest, resource: Resource, path: str, asked: Mapping[str, str]
    ) -> Listing:
        items: list[Json] = []
        query = {**asked, "limit": str(PAGE)}
        while True:
            told = {key: value for key, value in query.items() if value}
            page = self._ask(question, "GET", f"{path}?{urlencode(told)}")
            # A listing leaves out what its items are; whoever compares one needs it.
            of_kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            items += ({**of_kind, **one} for one in page.get("items") or ())
            about = page["metadata"]
            if not (more := about.get("continue")):
                return Listing(tuple(items), about["resourceVersion"])
            # A continuation says its own version; naming another is an error.
            query |= {"continue": more, "resourceVersion": ""}

    def _ask(
        self,
        question: ApiRequest,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        if body is not None:
            headers["Content-Type"] = content_type
        payload = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + self._timeout_s
        for left in reversed(range(PATIENCE)):
            answer = self._send(question, method, path, payload, headers, deadline)
            if answer.status < 300:
                return _parsed(question, answer)
            wait_s = _retry_after_s(answer)
            if answer.status != 429 or not left or time.monotonic() + wait_s > deadline:
                raise error_of(question, answer.status, answer.data)
            # It turned the call away before it looked at it: any verb may be sent again.
            time.sleep(wait_s)
        raise AssertionError  # pragma: no cover

    def _send(
        self,
        question: ApiRequest,
        method: str,
        path: str,
        payload: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> urllib3.BaseHTTPResponse:
        left_s = max(0.1, deadline - time.monotonic())
        try:
            return self._pool.request(
                method,
                self._configuration.host + path,
                body=payload,
                headers={**headers, **self._credentials()},
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, left_s), read=left_s),
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(
                question,
                f"{self._configuration.host} did not answer: {error}",
                help="it is tried again; where that lasts, look at the API server",
            ) from error

    def _credentials(self) -> dict[str, str]:
        # Reads the token anew where it may have been rotated; the hook is not made for threads.
        with self._lock:
            token = self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}


def _address(told: Mapping[str, Any]) -> tuple[str | None, str]:
    about = told["metadata"]
    return about.get("namespace"), about["name"]


def _parsed(question: ApiRequest, answer: urllib3.BaseHTTPResponse) -> Json:
    try:
        told = json.loads(answer.data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Unavailable(
            question,
            "something answered that is no API server",
            help="look at proxies between here and the API server",
            status=answer.status,
        )
    return told


def _retry_after_s(answer: urllib3.BaseHTTPResponse) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0
