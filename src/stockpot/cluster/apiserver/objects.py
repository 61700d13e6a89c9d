"""Reading objects as the API server has them: dicts, in which anything optional may be missing."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pydantic

from stockpot.api.results import ResultMessage
from stockpot.cluster.apiserver.labels import COMPONENT

Json = dict[str, Any]


def name_of(thing: Json) -> str:
    """Its name."""
    return str(thing["metadata"]["name"])


def namespace_of(thing: Json) -> str:
    """Its namespace; empty for what has none."""
    return str(thing["metadata"].get("namespace", ""))


def uid_of(thing: Json) -> str:
    """Its UID."""
    return str(thing["metadata"]["uid"])


def labels_on(thing: Json) -> dict[str, str]:
    """Its labels."""
    return thing["metadata"].get("labels") or {}


def annotations_on(thing: Json) -> dict[str, str]:
    """Its annotations."""
    return thing["metadata"].get("annotations") or {}


def owner_uid(thing: Json) -> str:
    """The UID of its controller; empty where it has none."""
    owners: Sequence[Json] = thing["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def verb_of(thing: Json) -> str:
    """What a workload of ours does: also the name of its container."""
    return labels_on(thing).get(COMPONENT, "")


def condition_of(thing: Json, type_: str, status: str = "True") -> Json | None:
    """Its condition of that type, where that has this status."""
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
    """In order of their creation, the last one first."""
    return sorted(
        things, key=lambda thing: thing["metadata"].get("creationTimestamp") or "", reverse=True
    )


def is_alive(pod: Json) -> bool:
    """Whether a process of a pod may still do something."""
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}


def container_status(pod: Json) -> Json | None:
    """How the container is that runs the verb; None where no kubelet has said anything yet."""
    statuses: Sequence[Json] = pod.get("status", {}).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == verb_of(pod)), None)


def result_in(message: str) -> ResultMessage | None:
    """Read a termination message; None where it is something else."""
    try:
        return ResultMessage.model_validate_json(message)
    except pydantic.ValidationError:
        return None


def time_of(text: str | None) -> datetime | None:
    """Read a timestamp."""
    return datetime.fromisoformat(text) if text else None
