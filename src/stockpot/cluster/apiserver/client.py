"""A thread-safe client of the Kubernetes API that reads and writes raw JSON objects.

Configuration and credentials come from the `kubernetes` package. Its typed models are not used:
they cost memory and drop fields that they do not know.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
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
WRITE_PARAMETERS = urlencode({"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"})
"""Parameters of every write: the API server refuses unknown fields instead of dropping them."""
TIMEOUT_S = 20.0
"""Timeout of one call, including its retries."""
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS = 32
"""Connections that are kept, more than threads that write, list and renew Leases at once: a request
without one begins with a TLS handshake."""
PAGE = 500
"""Objects per page of a list, so that neither side holds all of them in memory at once."""
LIST_ATTEMPTS = 3
"""How often a list is attempted whose continue token expires."""
ATTEMPTS = 4
"""How often a call is attempted that the API server rejects with 429 (too many requests)."""


Item_co = TypeVar("Item_co", covariant=True)
Packed = TypeVar("Packed")


@dataclass(frozen=True)
class Listing(Generic[Item_co]):
    """The result of a list: objects at one resource version."""

    items: tuple[Item_co, ...]
    resource_version: str
    """The version from which a watch continues."""


class Client:
    """Calls one API server with one identity."""

    def __init__(self, configuration: "Configuration", *, timeout_s: float = TIMEOUT_S) -> None:
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415

        configuration.connection_pool_maxsize = CONNECTIONS
        self._configuration = configuration
        self._pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._lock = threading.Lock()
        self._timeout_s = timeout_s
        self.unselectable: set[Resource] = set()
        """Kinds that this API server does not select by a field of their spec."""

    def with_timeout(self, timeout_s: float) -> "Client":
        """Return a client with another timeout that shares the connections."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _timeout_s=timeout_s)
        return other

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """Read one object.

        Raises:
            NotFound: There is no such object.
        """
        request = ApiRequest("get", resource.full_name, namespace, name)
        return self._call(request, "GET", resource.path(namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        """Read one object; None if it does not exist."""
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
    ) -> Listing[Json]:
        """List the objects of one namespace, or of all namespaces, page by page.

        Args:
            resource: The kind of the objects.
            namespace: None lists all namespaces.
            label_selector: `a=b,c`.
            field_selector: `involvedObject.uid=…`.
            resource_version: Empty reads the newest state; `0` accepts the API server's cache.
        """
        parameters = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
        }
        return self._list(resource, namespace, parameters, lambda thing: thing)

    def list_packed(
        self,
        resource: Resource,
        namespace: str,
        pack: Callable[[Json], Packed],
        *,
        label_selector: str = "",
    ) -> Listing[Packed]:
        """List the objects of one namespace, and pack each as its page arrives.

        So ten thousands of them are never all in memory as they were sent.
        """
        return self._list(resource, namespace, {"labelSelector": label_selector}, pack)

    def _list(
        self,
        resource: Resource,
        namespace: str | None,
        parameters: Mapping[str, str],
        pack: Callable[[Json], Packed],
    ) -> Listing[Packed]:
        request = ApiRequest("list", resource.full_name, namespace)
        path = resource.path(namespace)
        for left in reversed(range(LIST_ATTEMPTS)):
            try:
                return self._pages(request, resource, path, parameters, pack)
            except ResourceExpired:
                # Pages of two resource versions do not form one consistent list: start again.
                if not left:
                    raise
        raise AssertionError  # pragma: no cover

    def create(self, resource: Resource, new: Json) -> Json:
        """Create an object in the namespace of its metadata.

        Raises:
            AlreadyExists: An object of that name exists.
            NamespaceEnding: Its namespace is being deleted.
            Invalid: It violates a rule of its schema.
        """
        namespace, name = _address(new)
        request = ApiRequest("create", resource.full_name, namespace, name)
        return self._call(request, "POST", f"{resource.path(namespace)}?{WRITE_PARAMETERS}", new)

    def replace(self, resource: Resource, changed: Json) -> Json:
        """Replace an object (update).

        Raises:
            Conflict: The object no longer has the version in `metadata.resourceVersion`.
        """
        return self._put(resource, changed, "")

    def replace_status(self, resource: Resource, changed: Json) -> Json:
        """Replace the status of an object, and nothing else.

        Raises:
            Conflict: The object no longer has the version in `metadata.resourceVersion`.
        """
        return self._put(resource, changed, "status")

    def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Json:
        """Change some fields (JSON merge patch, RFC 7386).

        Raises:
            Conflict: The patch names a `metadata.resourceVersion` that is no longer current.
            NotFound: There is no object of that name.
        """
        request = ApiRequest("patch", resource.full_name, namespace, name)
        path = f"{resource.path(namespace, name)}?{WRITE_PARAMETERS}"
        return self._call(request, "PATCH", path, patch, "application/merge-patch+json")

    def apply(self, resource: Resource, desired: Json) -> Json:
        """Apply an object server-side, and take over fields that another manager owns.

        Creates the object if it does not exist. Removes fields of ours that it no longer names.
        """
        namespace, name = _address(desired)
        request = ApiRequest("patch", resource.full_name, namespace, name)
        path = f"{resource.path(namespace, name)}?{WRITE_PARAMETERS}&force=true"
        # JSON is valid YAML, and this is the media type of apply patches.
        return self._call(request, "PATCH", path, desired, "application/apply-patch+yaml")

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Delete an object.

        Args:
            resource: Its kind.
            namespace: None for cluster-scoped objects.
            name: Its name.
            uid: Delete only the object with this UID, not a later one of the same name.
            propagation: `Background`, `Foreground`, or `Orphan`.

        Raises:
            Conflict: The object has another UID.
        """
        request = ApiRequest("delete", resource.full_name, namespace, name)
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        self._call(request, "DELETE", resource.path(namespace, name), options)

    def get_from_pod(self, namespace: str, name: str, port: int, path: str) -> Json:
        """Send a GET to a pod through the API server: users have no route to the pod network."""
        request = ApiRequest("get", "pods/proxy", namespace, name)
        return self._call(
            request, "GET", f"{PODS.path(namespace, f'{name}:{port}', 'proxy')}/{path}"
        )

    def _put(self, resource: Resource, changed: Json, subresource: str) -> Json:
        namespace, name = _address(changed)
        full_name = resource.full_name + (f"/{subresource}" if subresource else "")
        request = ApiRequest("update", full_name, namespace, name)
        path = f"{resource.path(namespace, name, subresource)}?{WRITE_PARAMETERS}"
        return self._call(request, "PUT", path, changed)

    def _pages(
        self,
        request: ApiRequest,
        resource: Resource,
        path: str,
        parameters: Mapping[str, str],
        pack: Callable[[Json], Packed],
    ) -> Listing[Packed]:
        items: list[Packed] = []
        query = {**parameters, "limit": str(PAGE)}
        while True:
            given = {key: value for key, value in query.items() if value}
            page = self._call(request, "GET", f"{path}?{urlencode(given)}")
            # A list omits the kind of its items, which comparisons need.
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            for item in page.get("items") or ():
                # Half of a small object, and nothing reads it.
                item["metadata"].pop("managedFields", None)
                items.append(pack({**kind, **item}))
            metadata = page["metadata"]
            if not (token := metadata.get("continue")):
                return Listing(tuple(items), metadata["resourceVersion"])
            # The continue token contains its resource version; naming one beside it is an error.
            query |= {"continue": token, "resourceVersion": ""}

    def _call(
        self,
        request: ApiRequest,
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
        for left in reversed(range(ATTEMPTS)):
            response = self._send(request, method, path, payload, headers, deadline)
            if response.status < 300:
                return _parse(request, response)
            wait_s = _retry_after_s(response)
            if response.status != 429 or not left or time.monotonic() + wait_s > deadline:
                raise error_of(request, response.status, response.data)
            # The API server rejected the call before processing it: any verb may be repeated.
            time.sleep(wait_s)
        raise AssertionError  # pragma: no cover

    def _send(
        self,
        request: ApiRequest,
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
                request,
                f"{self._configuration.host} did not answer: {error}",
                help="the call is retried; if this persists, check the API server",
            ) from error

    def _credentials(self) -> dict[str, str]:
        # Reads a rotated token again; the hook of the package is not thread-safe.
        with self._lock:
            token = self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}


def _address(thing: Mapping[str, Any]) -> tuple[str | None, str]:
    metadata = thing["metadata"]
    return metadata.get("namespace"), metadata["name"]


def _parse(request: ApiRequest, response: urllib3.BaseHTTPResponse) -> Json:
    try:
        body = json.loads(response.data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Unavailable(
            request,
            "the response is not from an API server",
            help="check the proxies between here and the API server",
            status=response.status,
        )
    return body


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0
