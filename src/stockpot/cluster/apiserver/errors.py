"""Errors of the Kubernetes API, a class for each reason.

StockpotError
├── Refused
│   ├── NotFound          there is no object of that name
│   ├── AlreadyExists     an object of that name exists
│   ├── Invalid           the object violates a rule of its schema
│   ├── Unauthorized      the credentials are wrong or have expired
│   └── Forbidden         RBAC or an admission rule denies the request
│       ├── NamespaceEnding   the namespace is being deleted: nothing can be created in it
│       └── OverQuota         the namespace's ResourceQuota is used up
└── Transient
    ├── Conflict          another client wrote in between, or owns the field
    ├── ResourceExpired   the resource version is too old: list again
    ├── TooMany           the API server is overloaded
    └── Unavailable       no response, or a status of 500 and above
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockpot.errors import Refused, StockpotError, Transient


@dataclass(frozen=True)
class ApiRequest:
    """A call as messages name it: `create jobs.batch in the namespace studio`."""

    verb: str
    """An RBAC verb: get, list, create, update, patch, delete."""
    resource: str
    """`jobs.batch`, `soups.stockpot.dev/status`."""
    namespace: str | None = None
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")
        return f"{what} in the namespace {self.namespace}" if self.namespace else what


class ApiError(StockpotError):
    """The API server did not do what was requested."""

    def __init__(
        self,
        request: ApiRequest,
        server_message: str,
        *,
        help: str = "",  # noqa: A002
        status: int | None = None,
        causes: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(f"the API server did not {request}: {server_message}", help=help)
        self.request = request
        self.server_message = server_message
        self.status = status
        """The HTTP status; None if there was no response."""
        self.causes = causes
        """Dicts with `reason`, `message` and `field`, as far as the API server set them."""


class NotFound(ApiError, Refused):
    """There is no object of that name."""


class AlreadyExists(ApiError, Refused):
    """An object of that name exists."""


class Invalid(ApiError, Refused):
    """The object violates a rule of its schema; `causes` name the fields."""


class Unauthorized(ApiError, Refused):
    """The credentials are wrong or have expired."""


class Forbidden(ApiError, Refused):
    """RBAC or an admission rule denies the request."""


class NamespaceEnding(Forbidden):
    """The namespace is being deleted: nothing can be created in it."""


class OverQuota(Forbidden):
    """The namespace's ResourceQuota is used up."""


class Conflict(ApiError, Transient):
    """Another client wrote in between: read, and retry."""


class ResourceExpired(ApiError, Transient):
    """The resource version is too old: list again."""


class TooMany(ApiError, Transient):
    """The API server was overloaded in every attempt."""


class Unavailable(ApiError, Transient):
    """There was no response, or none from an API server that works."""


def error_of(request: ApiRequest, status: int, body: bytes) -> ApiError:
    """Convert a response with a status of 400 and above into an error."""
    message, reason, causes = _read(body, status)
    match status:
        case 401:
            return Unauthorized(
                request,
                message,
                help="the credentials are wrong or have expired: check the ServiceAccount's "
                "token, or the context of the kubeconfig",
                status=status,
            )
        case 403:
            return _forbidden(request, message, causes)
        case 404:
            kind: type[ApiError] = NotFound
        case 409 if reason == "AlreadyExists":
            kind = AlreadyExists
        case 409:
            kind = Conflict
        case 410:
            kind = ResourceExpired
        case 429:
            kind = TooMany
        case _:
            kind = Invalid if 400 <= status < 500 else Unavailable
    return kind(request, message, status=status, causes=causes)


def _forbidden(
    request: ApiRequest, message: str, causes: tuple[Mapping[str, str], ...]
) -> ApiError:
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceEnding(request, message, status=403, causes=causes)
    if "exceeded quota" in message or "failed quota" in message:
        return OverQuota(
            request,
            message,
            help=f"raise the ResourceQuota, or free some of it: kubectl describe quota "
            f"-n {request.namespace}",
            status=403,
            causes=causes,
        )
    where = f" -n {request.namespace}" if request.namespace else ""
    return Forbidden(
        request,
        message,
        help=f"check the permission: kubectl auth can-i {request.verb} "
        f"{request.resource}{where}; the chart's Role grants it: helm upgrade the release",
        status=403,
        causes=causes,
    )


def _read(body: bytes, status: int) -> tuple[str, str, tuple[Mapping[str, str], ...]]:
    """Read message, reason and causes of a Status object, or the body of a proxy's response."""
    try:
        answer: Any = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        return body.decode(errors="replace").strip()[:500] or f"HTTP {status}", "", ()
    causes = (answer.get("details") or {}).get("causes") or ()
    message = str(answer.get("message") or f"HTTP {status}")
    return message, str(answer.get("reason", "")), tuple(causes)
