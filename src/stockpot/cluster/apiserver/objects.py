"""Access to fields of raw JSON objects, where any optional field may be missing."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pydantic

from stockpot.api.results import ResultMessage
from stockpot.cluster.apiserver.labels import COMPONENT

Json = dict[str, Any]


def name_of(thing: Json) -> str:
    """Return the object's name."""
    return str(thing["metadata"]["name"])


def namespace_of(thing: Json) -> str:
    """Return the object's namespace; empty for cluster-scoped objects."""
    return str(thing["metadata"].get("namespace", ""))


def uid_of(thing: Json) -> str:
    """Return the object's UID."""
    return str(thing["metadata"]["uid"])


def labels_on(thing: Json) -> dict[str, str]:
    """Return the object's labels."""
    return thing["metadata"].get("labels") or {}


def annotations_on(thing: Json) -> dict[str, str]:
    """Return the object's annotations."""
    return thing["metadata"].get("annotations") or {}


def owner_uid(thing: Json) -> str:
    """Return the UID of the object's controller; empty if it has none."""
    owners: Sequence[Json] = thing["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def verb_of(thing: Json) -> str:
    """Return the verb of a workload of ours, which is also the name of its container."""
    return labels_on(thing).get(COMPONENT, "")


def condition_of(thing: Json, type_: str, status: str = "True") -> Json | None:
    """Return the object's condition of that type, if it has this status."""
    conditions: Sequence[Json] = thing.get("status", {}).get("conditions") or ()
    return next(
        (
            condition
            for condition in conditions
            if condition["type"] == type_ and condition["status"] == status
        ),
        None,
    )


def newest_first(things: Iterable[Json]) -> list[Json]:
    """Sort objects by their creation time, newest first."""
    return sorted(
        things, key=lambda thing: thing["metadata"].get("creationTimestamp") or "", reverse=True
    )


def is_alive(pod: Json) -> bool:
    """Whether a pod may still have a running process."""
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}


def container_status(pod: Json) -> Json | None:
    """Return the status of the container that runs the verb; None before the kubelet reports."""
    statuses: Sequence[Json] = pod.get("status", {}).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == verb_of(pod)), None)


def result_in(message: str) -> ResultMessage | None:
    """Parse the ResultMessage in a termination message; None if it is anything else."""
    try:
        return ResultMessage.model_validate_json(message)
    except pydantic.ValidationError:
        return None


def time_of(text: str | None) -> datetime | None:
    """Parse a timestamp."""
    return datetime.fromisoformat(text) if text else None
