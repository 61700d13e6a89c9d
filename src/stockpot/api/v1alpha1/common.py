"""Names, constants and metadata that all kinds of `stockpot.dev/v1alpha1` share."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from stockpot.api.model import (
    Model,
    Timestamp,
)

GROUP = "stockpot.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "stockpot.dev/v1alpha1"
FINALIZER = "stockpot.dev/unlearn"
"""On every DataShard that may have left a trace: the object stays until its receipt is stored."""
ADOPT_STORE = "stockpot.dev/adopt-store-of"
"""The annotation of a Namespace by which an admin hands over what a deleted one of its name has in
the store. Its value is the UID of that one."""
FORCE_DELETE = "stockpot.dev/force-delete"
"""Annotation of a DataShard or Soup: let its object go at once. Takes the verb `force-delete`."""
RETRY = "stockpot.dev/retry"
"""Annotation of a DataShard or Soup: with each new value, what failed for good is tried again."""
MOST_RETRY = 128
"""Letters of that value that a status has; of a longer one it has the digest."""
MAX_NAME = 50
"""Letters in the name of a Soup or DataShard: names of Jobs and revisions are made from it."""

ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
ShortName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=MAX_NAME
    ),
]


_SHORT_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
OPTIONAL_NAMES = rf"^({_SHORT_NAME}(,{_SHORT_NAME})*)?$"
"""Names, separated by commas; or nothing."""


class ObjectMeta(Model):
    """The metadata of a Kubernetes object, as far as Stockpot reads it."""

    name: ObjectName
    namespace: ObjectName = "default"
    uid: str = ""
    """Set when the object is stored; a later object of the same name has another UID."""
    generation: int = 0
    """Counts changes of the spec."""
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    """When the deletion was requested; the object goes once it has no finalizer."""


class RetriedStatus(Model):
    """The last request to retry that was carried out."""

    value: Annotated[str, StringConstraints(max_length=MOST_RETRY)]
    """Value of the annotation stockpot.dev/retry then, or its digest; another is another request.
    """
    runs: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """The runs that had failed: attempts count from the next ones. Empty if none had failed."""


class NamedRef(Model):
    """The name of an object in the same namespace."""

    name: ShortName


class UidRef(Model):
    """A reference to one object; a later object of the same name has another UID."""

    name: ObjectName
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
