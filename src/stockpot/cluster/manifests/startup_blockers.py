"""Explains why a workload's pods cannot be created or cannot start. Pure.

A message stays the same while its cause does, because it is written into conditions, and an
unchanged status needs no write. So it contains no counts, and no names that change with a retry.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from stockpot.api.conditions import Reason
from stockpot.cluster.apiserver import labels
from stockpot.cluster.apiserver.objects import (
    Json,
    condition_of,
    container_status,
    is_alive,
    labels_on,
    name_of,
    namespace_of,
    newest_first,
    result_in,
    time_of,
    uid_of,
    verb_of,
)
from stockpot.cluster.manifests.image_pull_errors import PULLING, image_pull_blocker
from stockpot.cluster.manifests.scheduling_errors import scheduling_blocker
from stockpot.core.runs import StartupBlocker

LOST_AFTER_S = 30
"""How long after a pod should have ended its node counts as lost."""
CRASHES = 2
"""Restarts of a server from which on it counts as crashing."""


def startup_blocker_of(
    workload: Json, pods: Iterable[Json], events: Iterable[Json], now: datetime
) -> StartupBlocker | None:
    """Explain why a workload's pods do not exist or do not start; None if nothing blocks them.

    Args:
        workload: A Job that has not ended, or a Deployment.
        pods: Its pods.
        events: Events about the workload, its ReplicaSets and its pods; others are ignored.
        now: Tells a pod that is terminating from one whose node is lost.
    """
    alive = [pod for pod in reversed(newest_first(pods)) if is_alive(pod)]
    sorted_events = sorted(events, key=_last_time)
    if workload.get("spec", {}).get("suspend"):
        return _suspended(workload)
    if refused := _creation_blocker(workload, alive, sorted_events):
        return refused
    blockers = (_pod_blocker(pod, sorted_events, now) for pod in alive)
    return next((blocker for blocker in blockers if blocker), None)


# ---------------------------------------------------------------- pods that cannot be created


def _suspended(job: Json) -> StartupBlocker:
    """Explain a Job that somebody else suspended: we suspend none, and queues suspend all."""
    namespace, queue = namespace_of(job), labels_on(job).get(labels.KUEUE_QUEUE)
    if queue:
        return StartupBlocker(
            Reason.QUEUED,
            f"its Job {name_of(job)} is in the queue {queue}",
            f"wait; kubectl get workload -n {namespace} shows what Kueue waits for",
        )
    return StartupBlocker(
        Reason.QUEUED,
        f"its Job {name_of(job)} is suspended, and not by Stockpot",
        "wait for the queue that admits Jobs, or resume it: kubectl patch job -n "
        f"""{namespace} {name_of(job)} --type merge -p '{{"spec":{{"suspend":false}}}}'""",
    )


def _creation_blocker(
    workload: Json, pods: Sequence[Json], events: Sequence[Json]
) -> StartupBlocker | None:
    failing = condition_of(workload, "ReplicaFailure")
    message = failing.get("message", "") if failing else ""
    if workload.get("kind") == "Job" or "completions" in workload.get("spec", {}):
        # A Job has no such condition: its events count, for as long as it has no pod.
        message = "" if pods else _last(events, uid_of(workload), {"FailedCreate"})
    return _read_refusal(message, workload) if message else None


def _read_refusal(message: str, workload: Json) -> StartupBlocker:
    namespace = namespace_of(workload)
    why = message.partition(" is forbidden: ")[2] or message.removeprefix("Error creating: ")
    account = re.search(r'service ?account "([^"]+)" not found', why, re.IGNORECASE)
    if account:
        return StartupBlocker(
            Reason.FORBIDDEN,
            f"the ServiceAccount {account[1]} is not in the namespace {namespace}",
            f"add {namespace} to the chart's workloadNamespaces: helm upgrade the release",
        )
    if "quota" in why:
        # The present usage changes all the time.
        why = re.sub(r" used: .*?(?= limited:)", "", why)
        return StartupBlocker(
            Reason.QUOTA_EXCEEDED,
            f"the namespace {namespace} has no room for the pod: {why}",
            f"raise the ResourceQuota (kubectl describe quota -n {namespace}), free some of it, or "
            f"lower pods.resources.{verb_of(workload)} in the chart's values",
        )
    if "violates PodSecurity" in why:
        return StartupBlocker(
            Reason.FORBIDDEN,
            f"the namespace {namespace} does not allow the pod: it {why}",
            "check what the chart's values add to pods: pods.volumes, pods.env, "
            "pods.runtimeClassName",
        )
    return StartupBlocker(
        Reason.FORBIDDEN,
        f"the API server does not allow the pod in the namespace {namespace}: {why}",
        f"see kubectl describe {workload.get('kind', 'job').lower()} -n {namespace} "
        f"{name_of(workload)}",
    )


# --------------------------------------------------------------------- pods that do not start


def _pod_blocker(pod: Json, events: Sequence[Json], now: datetime) -> StartupBlocker | None:
    if lost := _lost(pod, now):
        return lost
    if "deletionTimestamp" in pod["metadata"]:
        return None
    unplaced = condition_of(pod, "PodScheduled", "False")
    if unplaced:
        return scheduling_blocker(pod, unplaced.get("message", ""))
    status = container_status(pod) or {}
    waiting: Json = status.get("state", {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in PULLING:
        return image_pull_blocker(pod, status, " ".join(_messages(events, uid_of(pod), {"Failed"})))
    if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
        return _not_created(pod, message)
    if _is_crashing(status, reason):
        return _crashing(pod, status)
    if reason in {"ContainerCreating", "PodInitializing"} or not status:
        message = _last(events, uid_of(pod), {"FailedMount", "FailedAttachVolume"})
        return _not_mounted(pod, message) if message else None
    return None


def _lost(pod: Json, now: datetime) -> StartupBlocker | None:
    node = pod.get("spec", {}).get("nodeName")
    ending = time_of(pod["metadata"].get("deletionTimestamp"))
    # The kubelet should have confirmed its end long ago.
    overdue = ending is not None and now > ending + timedelta(seconds=LOST_AFTER_S)
    unready = condition_of(pod, "Ready", "False")
    # The kubelet last reported ready containers; the node controller set the pod's condition.
    silent = unready is not None and condition_of(pod, "ContainersReady") is not None
    if not node or not (overdue or silent or pod.get("status", {}).get("reason") == "NodeLost"):
        return None
    return StartupBlocker(
        Reason.NODE_LOST,
        f"the node {node} does not answer, and its pod {name_of(pod)} may still run there",
        f"bring the node back; if it is off for good, delete it: kubectl delete node {node}",
    )


def _not_created(pod: Json, message: str) -> StartupBlocker:
    if missing := _missing_secret(pod, message):
        return missing
    if "subPath" in message:
        return StartupBlocker(
            Reason.SOURCE_NOT_FOUND,
            f"a folder that the run needs is not on its claim: {message}",
            "put the folder there, or name another path in the source",
        )
    return StartupBlocker(
        Reason.CRASHING,
        f"the container {verb_of(pod)} cannot be started: {message}",
        f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
    )


def _not_mounted(pod: Json, message: str) -> StartupBlocker | None:
    if missing := _missing_secret(pod, message):
        return missing
    if "timed out waiting for" in message and "cache" in message:
        return None  # The kubelet is starting; it retries by itself.
    volume = re.search(r'volume "?([^"\s:]+)"?', message)
    claim = _claim_of(pod, volume[1]) if volume else ""
    what = f"the claim {claim}" if claim else f"the volume {volume[1] if volume else ''}".rstrip()
    return StartupBlocker(
        Reason.CLAIM_UNBOUND,
        f"{what} cannot be mounted on the node {pod['spec'].get('nodeName', '')}: {message}",
        f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
    )


def _missing_secret(pod: Json, message: str) -> StartupBlocker | None:
    namespace = namespace_of(pod)
    key = re.search(r"couldn't find key (\S+) in Secret (\S+)", message)
    if key:
        what = f"the Secret {key[2].rpartition('/')[2]} has no key {key[1]}"
    elif key := re.search(r"references non-existent secret key: (\S+)", message):
        what = f"the Secret {_secret_volume(pod)} has no key {key[1]}"
    elif secret := re.search(r'secret "([^"]+)" not found', message):
        what = f"the Secret {secret[1]} does not exist"
    else:
        return None
    named = re.search(r"Secret (\S+)", what)
    return StartupBlocker(
        Reason.SECRET_NOT_FOUND,
        f"{what} (namespace {namespace})",
        f"create it: kubectl create secret generic -n {namespace} {named[1] if named else ''} "
        "--from-literal=KEY=VALUE; the names are in the chart's values",
    )


def _is_crashing(status: Json, waiting: str) -> bool:
    if waiting == "CrashLoopBackOff":
        return True
    # It runs for a while between two crashes, and is still crashing then.
    return bool(
        status.get("restartCount", 0) >= CRASHES
        and not status.get("started")
        and status.get("lastState", {}).get("terminated", {}).get("exitCode")
    )


def _crashing(pod: Json, status: Json) -> StartupBlocker:
    verb, ended = verb_of(pod), status.get("lastState", {}).get("terminated") or {}
    who = "the server" if verb == "serve" else f"the container {verb}"
    result = result_in(ended.get("message", ""))
    log = f"read its log: kubectl logs -n {namespace_of(pod)} {name_of(pod)} --previous"
    if ended.get("reason") == "OOMKilled":
        return StartupBlocker(
            Reason.CRASHING,
            f"{who} repeatedly runs out of memory",
            f"raise pods.resources.{verb}.limits.memory in the chart's values",
        )
    if result and result.problem:
        return StartupBlocker(
            Reason.CRASHING,
            f"{who} keeps crashing: {result.problem.message}",
            result.problem.help or log,
        )
    tail = " ".join(ended.get("message", "").strip().splitlines()[-1:])
    code = ended.get("exitCode", "unknown")
    return StartupBlocker(
        Reason.CRASHING,
        f"{who} keeps crashing, with exit code {code}" + (f": {tail}" if tail else ""),
        log,
    )


def _claim_of(pod: Json, volume: str) -> str:
    for entry in pod["spec"].get("volumes", ()):
        if entry["name"] == volume and "persistentVolumeClaim" in entry:
            return str(entry["persistentVolumeClaim"]["claimName"])
    return ""


def _secret_volume(pod: Json) -> str:
    for volume in pod["spec"]["volumes"]:
        if "secret" in volume:
            return str(volume["secret"]["secretName"])
        for source in volume.get("projected", {}).get("sources", ()):
            # The API server adds a projected volume for the token, which is no Secret.
            if "secret" in source:
                return str(source["secret"]["name"])
    return ""


def _messages(events: Sequence[Json], uid: str, reasons: set[str]) -> list[str]:
    return [
        str(event.get("message", ""))
        for event in events
        if event["involvedObject"].get("uid") == uid and event.get("reason") in reasons
    ]


def _last(events: Sequence[Json], uid: str, reasons: set[str]) -> str:
    return next(reversed(_messages(events, uid, reasons)), "")


def _last_time(event: Json) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
