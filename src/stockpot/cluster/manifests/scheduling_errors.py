"""What the scheduler says of a pod that fits nowhere, in words. Pure."""

import re

from stockpot.api.conditions import Reason
from stockpot.cluster.apiserver.objects import Json, namespace_of, verb_of
from stockpot.core.runs import StartupBlocker


def unschedulable(pod: Json, said: str) -> StartupBlocker:
    """Say why no node takes a pod.

    Args:
        pod: It.
        said: The message of its condition PodScheduled.
    """
    # What follows its first sentence is about making room, which is the scheduler's matter.
    why = said.partition(". ")[0].rstrip(".")
    return _of_claims(pod, why) or _of_resources(pod, why) or _of_nodes(pod, why)


def _of_claims(pod: Json, why: str) -> StartupBlocker | None:
    namespace = namespace_of(pod)
    gone = re.search(r'persistentvolumeclaim "([^"]+)" (not found|is being deleted)', why)
    if gone and gone[2] == "not found":
        return StartupBlocker(
            Reason.CLAIM_UNBOUND,
            f"the claim {gone[1]} is not in the namespace {namespace}",
            f"make it, or name another in the source: kubectl get pvc -n {namespace}",
        )
    if gone:
        return StartupBlocker(
            Reason.CLAIM_UNBOUND,
            f"the claim {gone[1]} is being deleted",
            "make it anew once it is gone, or name another in the source",
        )
    if "PersistentVolumeClaim" in why or "persistent volumes to bind" in why:
        names = ", ".join(_claims(pod))
        return StartupBlocker(
            Reason.CLAIM_UNBOUND,
            f"a claim that the pod needs has no volume yet ({names})",
            f"see what it waits for: kubectl describe pvc -n {namespace} {' '.join(_claims(pod))}",
        )
    return None


def _of_resources(pod: Json, why: str) -> StartupBlocker | None:
    short = sorted(set(re.findall(r"Insufficient ([^,\s]+)", why)))
    if "Too many pods" in why:
        short.append("pods")
    if not short:
        return None
    asked = _requests(pod)
    wanted = " and ".join(f"{asked[one]} {one}" if one in asked else one for one in short)
    return StartupBlocker(
        Reason.UNSCHEDULABLE,
        f"no node has room for the pod, which needs {wanted}",
        f"add a node, wait for room, or lower pods.resources.{verb_of(pod)} in the chart's values",
    )


def _of_nodes(pod: Json, why: str) -> StartupBlocker:
    if taint := re.search(r"untolerated taint\(?s?\)? ?(?:\{([^}]*)\})?", why):
        named = f" {taint[1].rstrip(': ')}" if taint[1] else ""
        return StartupBlocker(
            Reason.UNSCHEDULABLE,
            f"no node takes the pod: they have the taint{named}",
            "tolerate it with pods.tolerations in the chart's values, or take it away",
        )
    if "affinity/selector" in why:
        chosen = pod.get("spec", {}).get("nodeSelector") or {}
        labels = ", ".join(f"{key}={value}" for key, value in sorted(chosen.items()))
        return StartupBlocker(
            Reason.UNSCHEDULABLE,
            f"no node has the labels that the pod asks for ({labels})",
            "label a node, or change pods.nodeSelector in the chart's values",
        )
    if "volume node affinity" in why:
        return StartupBlocker(
            Reason.UNSCHEDULABLE,
            f"the pod's claims are on different nodes ({', '.join(_claims(pod))})",
            "put them where one node reaches them all",
        )
    # The scheduler counts nodes, and nodes come and go: what counts is that none fits.
    plain = re.sub(r"^\d+/\d+ nodes are available: |\b\d+ (?=\S)", "", why)
    return StartupBlocker(
        Reason.UNSCHEDULABLE,
        f"no node takes the pod: {plain}" if plain else "the pod waits to be given a node",
        "see kubectl get nodes",
    )


def _requests(pod: Json) -> dict[str, str]:
    for container in pod.get("spec", {}).get("containers", ()):
        if container["name"] == verb_of(pod):
            return dict(container.get("resources", {}).get("requests") or {})
    return {}


def _claims(pod: Json) -> list[str]:
    volumes = pod.get("spec", {}).get("volumes", ())
    return sorted(
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    )
