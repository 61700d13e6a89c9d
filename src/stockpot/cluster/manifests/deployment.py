"""From a soup's servers to their Deployment and Service, and back. Pure.

Nothing in a pod's template names a revision: what is served is granted, so that a new revision
rolls nothing out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stockpot.api.conditions import Reason
from stockpot.api.runspec import ObjectRef, ServeRun
from stockpot.cluster.apiserver.labels import (
    COMPONENT,
    MANAGED_BY,
    NAME,
    SOUP,
    SOUP_UID,
    labels_of,
    owner_of,
)
from stockpot.cluster.apiserver.objects import (
    Json,
    condition_of,
    container_status,
    is_alive,
    labels_on,
    name_of,
    namespace_of,
    uid_of,
)
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, SERVICES
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.cluster.manifests.pods import template_of
from stockpot.core.runs import StartupBlocker

PUBLIC_PORT, ADMIN_PORT = 8080, 8081
SERVICE_PORT = 80
START_S = 600
"""A base of some gigabytes is fetched and opened before the server answers."""
PROBE_EVERY_S, PROBE_TIMES = 2, 2
"""How soon a server that says that it is not ready is taken for it: after 4 seconds."""
PRE_STOP_S = 5
"""Before a server is told to end, while its Service stops naming it: it answers as ever."""
LEAVE_S = 8
"""After it is told, it goes on answering and says that it is not ready: until the kubelet has seen
that and every node knows it, also where it was told without being deleted."""
FINISH_S = 60
"""What came in until then may take so long, at least: twice a full queue at a second each."""
CUT_OFF_S = 7
"""What it takes to end after that: to cut off what is left, and for the process itself."""


@dataclass(frozen=True)
class Endpoint:
    """A server pod that ever began, and whose end nobody has confirmed."""

    name: str
    uid: str
    ip: str
    """Empty before it has one."""
    ready: bool
    """Takes requests, as the kubelet sees it."""
    ending: bool
    """Was told to end; may still hold and answer."""
    node: str = ""
    """Where it runs; empty before that is decided."""

    @property
    def admin_url(self) -> str:
        """Where it is asked and told."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{ADMIN_PORT}"


def deployment_of(
    soup: ObjectRef, spec: ServeRun, replicas: int, settings: OperatorSettings
) -> Json:
    """Describe the servers of a soup.

    Raises:
        Refused: The settings declare no such store.
    """
    finish_s = max(FINISH_S, spec.drain_s)
    spec = spec.model_copy(
        update={
            "soup": soup,
            "host": "0.0.0.0",  # noqa: S104  A pod is asked from outside.
            "port": PUBLIC_PORT,
            "admin_port": ADMIN_PORT,
            "leave_s": LEAVE_S,
            "finish_s": finish_s,
        }
    )
    template = template_of(
        spec,
        settings,
        metrics_port=ADMIN_PORT,
        pod={"terminationGracePeriodSeconds": PRE_STOP_S + LEAVE_S + finish_s + CUT_OFF_S},
        container={
            "ports": [
                {"name": "http", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
                {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
            ],
            "startupProbe": _probe("/livez", every_s=2, times=START_S // 2),
            "livenessProbe": _probe("/livez", every_s=10, times=6),
            # Ready once it holds its grant: before that it has nothing to answer with.
            "readinessProbe": _probe("/readyz", every_s=PROBE_EVERY_S, times=PROBE_TIMES),
            "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        },
    )
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": _metadata(deployment_name(soup), soup, spec),
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


def deployment_name(soup: ObjectRef) -> str:
    """Name the Deployment; a later soup of the same name cannot take over its selector."""
    return f"{soup.name[:16].rstrip('-')}-{soup.uid[:5]}-serve"


def taken(live: Json | None) -> StartupBlocker | None:
    """Say that the name of a soup's Service is taken by one that is not ours."""
    if live is None or labels_on(live).get(MANAGED_BY) == "stockpot":
        return None
    name, namespace = name_of(live), namespace_of(live)
    return StartupBlocker(
        Reason.NAME_TAKEN,
        f"there is a Service {name} in the namespace {namespace} that is not Stockpot's",
        f"delete it (kubectl delete service -n {namespace} {name}), or name the soup otherwise",
    )


def service_of(soup: ObjectRef, spec: ServeRun) -> Json:
    """Describe the address under which a soup answers: its name."""
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


def endpoints_of(pods: Iterable[Json]) -> tuple[Endpoint, ...]:
    """See every pod of a soup's servers that may still hold something, in order of name."""
    return tuple(
        Endpoint(
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
    # One that is not being deleted is started once more, under the same UID.
    return "deletionTimestamp" in pod["metadata"] and "terminated" in status.get("state", {})


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""The taint by which an admin says that a node is shut down, so that nothing runs there."""


def is_out_of_service(node: Json) -> bool:
    """Whether an admin said that nothing runs on the node any more."""
    taints = node.get("spec", {}).get("taints") or ()
    return any(taint.get("key") == OUT_OF_SERVICE for taint in taints)


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
