"""Builds the Deployment and Service of a soup's servers, and reads their pods. Pure.

The pod template names no revision: servers receive theirs by grants, so that a new revision
causes no rollout. It names the keys that may sign grants, so that a new key does.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pydantic

from stockpot.api.conditions import Reason
from stockpot.api.runspec import RUN_SPEC as RUN_SPECS
from stockpot.api.runspec import ObjectRef, ServeRun
from stockpot.api.serving import POD_UID
from stockpot.cluster.apiserver.labels import (
    COMPONENT,
    MANAGED_BY,
    NAME,
    REPLICAS,
    RUN_SPEC,
    SOUP,
    SOUP_UID,
    labels_of,
    owner_of,
)
from stockpot.cluster.apiserver.objects import (
    Json,
    annotations_on,
    condition_of,
    container_status,
    is_alive,
    labels_on,
    name_of,
    namespace_of,
    uid_of,
)
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, SERVICES
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.pods import template_digest, template_of
from stockpot.core.runs import StartupBlocker

PUBLIC_PORT, ADMIN_PORT, METRICS_PORT = 8080, 8081, 8083
SERVICE_PORT = 80
SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
"""Servers are spread over these where there is room; none waits for that."""
START_S = 600
"""Time to fetch and load a base of some gigabytes before the server answers."""
PROBE_EVERY_S, PROBE_TIMES = 2, 2
"""The kubelet marks a server as not ready 4 seconds after it says so."""
PRE_STOP_S = 5
"""Wait before SIGTERM, in which the Service removes the server, and the server still answers."""
LEAVE_S = 8
"""After SIGTERM the server goes on answering, but reports not ready, until the kubelet has probed
that and every node knows it, also if the container was stopped without deleting the pod."""
FINISH_S = 60
"""Least time for the requests received until then: twice a full queue at a second each."""
CUT_OFF_S = 7
"""Time to end after that: to cut off the remaining requests, and to stop the process."""


@dataclass(frozen=True)
class ServerPod:
    """A server pod that has started, and whose end is not confirmed."""

    name: str
    uid: str
    ip: str
    """Empty before it is assigned."""
    ready: bool
    """Receives requests, according to the kubelet."""
    ending: bool
    """Is being deleted; may still hold weights and answer."""
    node: str = ""
    """The node that it runs on; empty before it is scheduled."""

    @property
    def admin_url(self) -> str:
        """URL of the server's admin API."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{ADMIN_PORT}"


def deployment_of(
    soup: ObjectRef, spec: ServeRun, replicas: int, settings: OperatorSettings
) -> Json:
    """Build the Deployment of a soup's servers.

    Raises:
        Refused: The settings declare no such store.
    """
    finish_s = max(FINISH_S, spec.drain_s)
    spec = spec.model_copy(
        update={
            "soup": soup,
            "host": "0.0.0.0",  # noqa: S104  A pod is called from outside.
            "port": PUBLIC_PORT,
            "admin_port": ADMIN_PORT,
            "metrics_port": METRICS_PORT,
            "leave_s": LEAVE_S,
            "finish_s": finish_s,
        }
    )
    template = template_of(
        spec,
        settings,
        metrics_port=METRICS_PORT,
        pod={
            "terminationGracePeriodSeconds": PRE_STOP_S + LEAVE_S + finish_s + CUT_OFF_S,
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": topology,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": _selector(soup)},
                }
                for topology in SPREAD_OVER
            ],
        },
        container={
            "ports": [
                {"name": "http", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
                {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
                {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            ],
            # A grant is signed for one pod.
            "env": [
                {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            ],
            "startupProbe": _probe("/livez", every_s=2, times=START_S // 2),
            "livenessProbe": _probe("/livez", every_s=10, times=6),
            # Ready once it has its grant: before that it has no weights to answer with.
            "readinessProbe": _probe("/readyz", every_s=PROBE_EVERY_S, times=PROBE_TIMES),
            "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        },
    )
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {
            **_metadata(deployment_name(soup), soup, spec),
            "annotations": {REPLICAS: str(replicas)},
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": _selector(soup)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": template,
        },
    }


def is_rolled_out(live: Json, pods: Iterable[Json]) -> bool:
    """Whether no server is left that an earlier template of the Deployment made."""
    template = live["spec"]["template"]
    wanted = template_digest(template)
    return all(template_digest(pod) == wanted for pod in pods if is_alive(pod))


def grant_keys_of(live: Json | None) -> tuple[str, ...]:
    """Return the public keys that the servers of a live Deployment accept grants by."""
    if live is None:
        return ()
    annotations = live["spec"]["template"].get("metadata", {}).get("annotations") or {}
    try:
        spec = RUN_SPECS.validate_json(annotations.get(RUN_SPEC, ""))
    except pydantic.ValidationError:
        return ()
    return spec.grant_keys if isinstance(spec, ServeRun) else ()


def deployment_name(soup: ObjectRef) -> str:
    """Return the Deployment's name, which a later soup of the same name does not share."""
    return f"{soup.name[:16].rstrip('-')}-{soup.uid[:5]}-serve"


def service_name_blocker(live: Json | None) -> StartupBlocker | None:
    """Return a blocker if another owner's Service has the name of the soup's Service."""
    if live is None or labels_on(live).get(MANAGED_BY) == "stockpot":
        return None
    name, namespace = name_of(live), namespace_of(live)
    return StartupBlocker(
        Reason.NAME_TAKEN,
        f"the Service {name} in the namespace {namespace} is not managed by Stockpot",
        f"delete it (kubectl delete service -n {namespace} {name}), or give the soup another name",
    )


def service_of(soup: ObjectRef, spec: ServeRun) -> Json:
    """Build the Service under which a soup answers, which has the soup's name."""
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": _metadata(soup.name, soup, spec.model_copy(update={"soup": soup})),
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(soup),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}
            ],
        },
    }


def disruption_budget_of(soup: ObjectRef, spec: ServeRun) -> Json:
    """Build the budget by which a drain takes one server at a time; a single one may go."""
    name = deployment_name(soup)
    return {
        "apiVersion": POD_DISRUPTION_BUDGETS.api_version,
        "kind": POD_DISRUPTION_BUDGETS.kind,
        "metadata": _metadata(name, soup, spec.model_copy(update={"soup": soup})),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": _selector(soup)},
            # A server that has no grant serves nobody: it holds up no drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def server_pods_of(pods: Iterable[Json]) -> tuple[ServerPod, ...]:
    """Return the pods of a soup's servers that may still hold weights, sorted by name."""
    return tuple(
        ServerPod(
            name=name_of(pod),
            uid=uid_of(pod),
            ip=pod.get("status", {}).get("podIP", ""),
            ready=condition_of(pod, "Ready") is not None,
            node=pod.get("spec", {}).get("nodeName", ""),
            ending="deletionTimestamp" in pod["metadata"],
        )
        for pod in sorted(pods, key=name_of)
        if not has_ended(pod)
    )


def has_ended(pod: Json) -> bool:
    """Whether the kubelet confirmed the end of a pod's last process."""
    if not is_alive(pod):
        return True
    status = container_status(pod) or {}
    # The container of a pod that is not being deleted restarts under the same UID.
    return "deletionTimestamp" in pod["metadata"] and "terminated" in status.get("state", {})


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""The taint with which an admin declares a node as shut down, so that nothing runs there."""


def is_out_of_service(node: Json) -> bool:
    """Whether an admin declared that nothing runs on the node any more."""
    taints = node.get("spec", {}).get("taints") or ()
    return any(taint.get("key") == OUT_OF_SERVICE for taint in taints)


def scaled_by_others(live: Json | None, replicas: int) -> int | None:
    """Return how many servers somebody else set; None if the Deployment is as we applied it.

    Args:
        live: The Deployment.
        replicas: How many servers its Soup wants.
    """
    if live is None or annotations_on(live).get(REPLICAS) != str(replicas):
        return None
    actual: int = live["spec"].get("replicas", 1)
    return None if actual == replicas else actual


def _metadata(name: str, soup: ObjectRef, spec: ServeRun) -> Json:
    return {
        "name": name,
        "namespace": soup.namespace,
        "labels": labels_of(spec),
        "ownerReferences": [owner_of(soup)],
    }


def _selector(soup: ObjectRef) -> dict[str, str]:
    return {
        NAME: "stockpot",
        MANAGED_BY: "stockpot",
        COMPONENT: "serve",
        SOUP: soup.name,
        SOUP_UID: soup.uid,
    }


def _probe(path: str, *, every_s: int, times: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": every_s,
        "timeoutSeconds": 5,
        "failureThreshold": times,
    }
