"""From a workload that does not get on to why, in words. Pure.

What is said must not change while the cause does not: it is written into conditions, and a
settled world is silent. So no counts, and no names that a retry draws anew.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from stockpot.api.conditions import Reason
from stockpot.cluster.apiserver.objects import (
    Json,
    condition_of,
    container_status,
    is_alive,
    name_of,
    namespace_of,
    newest_first,
    result_in,
    time_of,
    uid_of,
    verb_of,
)
from stockpot.cluster.manifests.image_pull_errors import PULLING, not_pulled
from stockpot.cluster.manifests.scheduling_errors import unschedulable
from stockpot.core.runs import StartupBlocker

LOST_AFTER_S = 30
"""So long after a pod should have ended, its node counts as silent."""
CRASHES = 2
"""As often a server may end before it counts as crashing."""


def hindrance_of(
    workload: Json, pods: Iterable[Json], events: Iterable[Json], now: datetime
) -> StartupBlocker | None:
    """Say why a workload's pods cannot be, or cannot start; None where nothing is in the way.

    Args:
        workload: A Job that has not ended, or a Deployment.
        pods: Its pods.
        events: Those about the workload, its ReplicaSets and its pods; others are passed over.
        now: To tell a pod that is ending from one whose node is silent.
    """
    alive = [pod for pod in reversed(newest_first(pods)) if is_alive(pod)]
    told = sorted(events, key=_when)
    if refused := _refused(workload, alive, told):
        return refused
    found = (_of_pod(pod, told, now) for pod in alive)
    return next((one for one in found if one), None)


# ------------------------------------------------------------------- pods that cannot be made


def _refused(workload: Json, pods: Sequence[Json], events: Sequence[Json]) -> StartupBlocker | None:
    failing = condition_of(workload, "ReplicaFailure")
    said = failing.get("message", "") if failing else ""
    if workload.get("kind") == "Job" or "completions" in workload.get("spec", {}):
        # A Job has no condition for it: its events say it, for as long as it has no pod.
        said = "" if pods else _last(events, uid_of(workload), {"FailedCreate"})
    return _read_refusal(said, workload) if said else None


def _read_refusal(said: str, workload: Json) -> StartupBlocker:
    namespace = namespace_of(workload)
    why = said.partition(" is forbidden: ")[2] or said.removeprefix("Error creating: ")
    account = re.search(r'service ?account "([^"]+)" not found', why, re.IGNORECASE)
    if account:
        return StartupBlocker(
            Reason.FORBIDDEN,
            f"the ServiceAccount {account[1]} is not in the namespace {namespace}",
            f"add {namespace} to the chart's workloadNamespaces: helm upgrade the release",
        )
    if "quota" in why:
        # What is used at the moment comes and goes.
        why = re.sub(r" used: .*?(?= limited:)", "", why)
        return StartupBlocker(
            Reason.QUOTA_EXCEEDED,
            f"the namespace {namespace} has no room for the pod: {why}",
            f"raise the ResourceQuota (kubectl describe quota -n {namespace}), make room, or "
            f"lower pods.resources.{verb_of(workload)} in the chart's values",
        )
    if "violates PodSecurity" in why:
        return StartupBlocker(
            Reason.FORBIDDEN,
            f"the namespace {namespace} does not allow the pod: it {why}",
            "look at what the chart's values add to pods: pods.volumes, pods.env, "
            "pods.runtimeClassName",
        )
    return StartupBlocker(
        Reason.FORBIDDEN,
        f"the API server does not allow the pod in the namespace {namespace}: {why}",
        f"see kubectl describe {workload.get('kind', 'job').lower()} -n {namespace} "
        f"{name_of(workload)}",
    )


# ------------------------------------------------------------------ pods that cannot get on


def _of_pod(pod: Json, events: Sequence[Json], now: datetime) -> StartupBlocker | None:
    if lost := _lost(pod, now):
        return lost
    if "deletionTimestamp" in pod["metadata"]:
        return None
    unplaced = condition_of(pod, "PodScheduled", "False")
    if unplaced:
        return unschedulable(pod, unplaced.get("message", ""))
    status = container_status(pod) or {}
    waiting: Json = status.get("state", {}).get("waiting") or {}
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in PULLING:
        return not_pulled(pod, status, " ".join(_said(events, uid_of(pod), {"Failed"})))
    if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
        return _not_created(pod, said)
    if _is_crashing(status, reason):
        return _crashing(pod, status)
    if reason in {"ContainerCreating", "PodInitializing"} or not status:
        said = _last(events, uid_of(pod), {"FailedMount", "FailedAttachVolume"})
        return _not_mounted(pod, said) if said else None
    return None


def _lost(pod: Json, now: datetime) -> StartupBlocker | None:
    node = pod.get("spec", {}).get("nodeName")
    ending = time_of(pod["metadata"].get("deletionTimestamp"))
    # Kept by a kubelet that should have confirmed its end long ago.
    overdue = ending is not None and now > ending + timedelta(seconds=LOST_AFTER_S)
    unready = condition_of(pod, "Ready", "False")
    # The kubelet's last word was that its containers are ready; the pod's state is another's word.
    silent = unready is not None and condition_of(pod, "ContainersReady") is not None
    if not node or not (overdue or silent or pod.get("status", {}).get("reason") == "NodeLost"):
        return None
    return StartupBlocker(
        Reason.NODE_LOST,
        f"the node {node} does not answer, and its pod {name_of(pod)} may still run there",
        f"bring the node back; or, once it is off for good, say so: kubectl delete node {node}",
    )


def _not_created(pod: Json, said: str) -> StartupBlocker:
    if missing := _missing_secret(pod, said):
        return missing
    if "subPath" in said:
        return StartupBlocker(
            Reason.SOURCE_NOT_FOUND,
            f"a folder that the run needs is not on its claim: {said}",
            "put the folder there, or name another path in the source",
        )
    return StartupBlocker(
        Reason.CRASHING,
        f"the container {verb_of(pod)} cannot be started: {said}",
        f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
    )


def _not_mounted(pod: Json, said: str) -> StartupBlocker | None:
    if missing := _missing_secret(pod, said):
        return missing
    if "timed out waiting for" in said and "cache" in said:
        return None  # The kubelet is starting; it tries again by itself.
    volume = re.search(r'volume "?([^"\s:]+)"?', said)
    claim = _claim_of(pod, volume[1]) if volume else ""
    what = f"the claim {claim}" if claim else f"the volume {volume[1] if volume else ''}".rstrip()
    return StartupBlocker(
        Reason.CLAIM_UNBOUND,
        f"{what} cannot be mounted on the node {pod['spec'].get('nodeName', '')}: {said}",
        f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
    )


def _missing_secret(pod: Json, said: str) -> StartupBlocker | None:
    namespace = namespace_of(pod)
    key = re.search(r"couldn't find key (\S+) in Secret (\S+)", said)
    if key:
        what = f"the Secret {key[2].rpartition('/')[2]} has no key {key[1]}"
    elif key := re.search(r"references non-existent secret key: (\S+)", said):
        what = f"the Secret {_secret_volume(pod)} has no key {key[1]}"
    elif secret := re.search(r'secret "([^"]+)" not found', said):
        what = f"the Secret {secret[1]} is not there"
    else:
        return None
    named = re.search(r"Secret (\S+)", what)
    return StartupBlocker(
        Reason.SECRET_NOT_FOUND,
        f"{what} (namespace {namespace})",
        f"make it: kubectl create secret generic -n {namespace} {named[1] if named else ''} "
        "--from-literal=KEY=VALUE; the names are in the chart's values",
    )


def _is_crashing(status: Json, waiting: str) -> bool:
    if waiting == "CrashLoopBackOff":
        return True
    # Between two crashes it runs for a while; that is no news.
    return bool(
        status.get("restartCount", 0) >= CRASHES
        and not status.get("started")
        and status.get("lastState", {}).get("terminated", {}).get("exitCode")
    )


def _crashing(pod: Json, status: Json) -> StartupBlocker:
    verb, ended = verb_of(pod), status.get("lastState", {}).get("terminated") or {}
    who = "the server" if verb == "serve" else f"the container {verb}"
    said = result_in(ended.get("message", ""))
    log = f"look at its log: kubectl logs -n {namespace_of(pod)} {name_of(pod)} --previous"
    if ended.get("reason") == "OOMKilled":
        return StartupBlocker(
            Reason.CRASHING,
            f"{who} is out of memory again and again",
            f"raise pods.resources.{verb}.limits.memory in the chart's values",
        )
    if said and said.problem:
        return StartupBlocker(
            Reason.CRASHING,
            f"{who} ends again and again: {said.problem.message}",
            said.problem.help or log,
        )
    tail = " ".join(ended.get("message", "").strip().splitlines()[-1:])
    code = ended.get("exitCode", "unknown")
    return StartupBlocker(
        Reason.CRASHING,
        f"{who} ends again and again, with exit code {code}" + (f": {tail}" if tail else ""),
        log,
    )


def _claim_of(pod: Json, volume: str) -> str:
    for one in pod["spec"].get("volumes", ()):
        if one["name"] == volume and "persistentVolumeClaim" in one:
            return str(one["persistentVolumeClaim"]["claimName"])
    return ""


def _secret_volume(pod: Json) -> str:
    for one in pod["spec"]["volumes"]:
        if "secret" in one:
            return str(one["secret"]["secretName"])
        for source in one.get("projected", {}).get("sources", ()):
            # The API server adds a projected volume with a token where a pod has one: no Secret.
            if "secret" in source:
                return str(source["secret"]["name"])
    return ""


def _said(events: Sequence[Json], uid: str, reasons: set[str]) -> list[str]:
    return [
        str(event.get("message", ""))
        for event in events
        if event["involvedObject"].get("uid") == uid and event.get("reason") in reasons
    ]


def _last(events: Sequence[Json], uid: str, reasons: set[str]) -> str:
    return next(reversed(_said(events, uid, reasons)), "")


def _when(event: Json) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
