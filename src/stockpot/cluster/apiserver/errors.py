"""What the Kubernetes API says when it does not do what it was asked, a class for each.

StockpotError
├── Refused
│   ├── NotFound          no object of that name
│   ├── AlreadyExists     one of that name is there
│   ├── Invalid           the object breaks a rule of its schema
│   ├── Unauthorized      it does not know who we are
│   └── Forbidden         it does, and says no
│       ├── NamespaceEnding   nothing is created in a namespace that is being deleted
│       └── OverQuota         the namespace's ResourceQuota is used up
└── Transient
    ├── Conflict          somebody else wrote in between, or owns the field
    ├── Gone              that version of the world is forgotten: list again
    ├── TooMany           it has too much to do
    └── Unavailable       no answer, or one of 500 and above
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockpot.errors import Refused, StockpotError, Transient


@dataclass(frozen=True)
class ApiRequest:
    """What was asked, for messages: `create jobs.batch in the namespace studio`."""

    verb: str
    """RBAC's: get, list, create, update, patch, delete."""
    resource: str
    """`jobs.batch`, `soups.stockpot.dev/status`."""
    namespace: str | None = None
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")
        return f"{what} in the namespace {self.namespace}" if self.namespace else what


class ApiError(StockpotError):
    """An answer that is not what was asked for."""

    def __init__(
        self,
        question: ApiRequest,
        said: str,
        *,
        help: str = "",  # noqa: A002
        status: int | None = None,
        causes: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(f"the API server did not {question}: {said}", help=help)
        self.question = question
        self.said = said
        """The API server's own message."""
        self.status = status
        """Of HTTP; None where nothing was answered."""
        self.causes = causes
        """Each with `reason`, `message` and `field`, where the API server gave them."""


class NotFound(ApiError, Refused):
    """There is no object of that name."""


class AlreadyExists(ApiError, Refused):
    """An object of that name is there."""


class Invalid(ApiError, Refused):
    """The object breaks a rule of its schema; `causes` name the fields."""


class Unauthorized(ApiError, Refused):
    """The credentials are wrong or have expired."""


class Forbidden(ApiError, Refused):
    """It is not allowed: by RBAC, or by an admission rule."""


class NamespaceEnding(Forbidden):
    """Nothing can be created in it any more."""


class OverQuota(Forbidden):
    """The namespace's ResourceQuota is used up."""


class Conflict(ApiError, Transient):
    """Somebody else wrote in between: read, and try again."""


class ResourceExpired(ApiError, Transient):
    """The resource version is forgotten: list again."""


class TooMany(ApiError, Transient):
    """It said to come back later, and went on saying so."""


class Unavailable(ApiError, Transient):
    """There was no answer, or none that says anything of the question."""


def error_of(question: ApiRequest, status: int, body: bytes) -> ApiError:
    """Read an answer of 400 and above."""
    said, reason, causes = _read(body, status)
    match status:
        case 401:
            return Unauthorized(
                question,
                said,
                help="the credentials are wrong or have expired: look at the ServiceAccount's "
                "token, or the context of the kubeconfig",
                status=status,
            )
        case 403:
            return _forbidden(question, said, causes)
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
    return kind(question, said, status=status, causes=causes)


def _forbidden(question: ApiRequest, said: str, causes: tuple[Mapping[str, str], ...]) -> ApiError:
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceEnding(question, said, status=403, causes=causes)
    if "exceeded quota" in said or "failed quota" in said:
        return OverQuota(
            question,
            said,
            help=f"raise the ResourceQuota, or make room: kubectl describe quota "
            f"-n {question.namespace}",
            status=403,
            causes=causes,
        )
    where = f" -n {question.namespace}" if question.namespace else ""
    return Forbidden(
        question,
        said,
        help=f"see whether it is allowed: kubectl auth can-i {question.verb} "
        f"{question.resource}{where}; the chart's Role grants it: helm upgrade the release",
        status=403,
        causes=causes,
    )


def _read(body: bytes, status: int) -> tuple[str, str, tuple[Mapping[str, str], ...]]:
    """Take what a Status object says; a proxy in between may answer anything."""
    try:
        told: Any = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("kind") != "Status":
        return body.decode(errors="replace").strip()[:500] or f"HTTP {status}", "", ()
    causes = (told.get("details") or {}).get("causes") or ()
    return str(told.get("message") or f"HTTP {status}"), str(told.get("reason", "")), tuple(causes)
