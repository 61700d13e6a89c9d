"""Workloads that do not start, and the blocker found for them."""

from datetime import UTC, datetime

from tests.cluster.shapes import (
    SOUP,
    Json,
    a_pod,
    servers,
    settings,
)

from stockpot.cluster.manifests.deployment import deployment_of
from stockpot.cluster.manifests.startup_blockers import startup_blocker_of
from stockpot.core.runs import StartupBlocker

NOW = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


def blocker_of(job: Json, *pods: Json, events: tuple[Json, ...] = ()) -> StartupBlocker | None:
    return startup_blocker_of(job, pods, events, NOW)


def deployment(*conditions: Json) -> Json:
    workload = deployment_of(SOUP, servers(), 1, settings())
    workload["metadata"] |= {"uid": "deployment-uid"}
    return {**workload, "status": {"conditions": list(conditions)}}


def unplaced(job: Json, message: str) -> Json:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    pod = a_pod(job, "Pending", conditions=[condition])
    del pod["spec"]["nodeName"]
    return pod


def requesting(job: Json, **requests: str) -> Json:
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": requests}
    return job
