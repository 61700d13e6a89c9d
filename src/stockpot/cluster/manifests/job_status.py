"""Reads the state and the result of a run from its Job and pods. Pure.

A run has ended when its Job says so and the kubelet has confirmed the end of each of its pods: a
process on a node that does not answer may still write.
"""

import json
import signal
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from stockpot.api.results import InvalidResult, read_result
from stockpot.api.run_kinds import kind_of_run
from stockpot.api.runspec import RUN_SPEC, RUN_SPECS, kind_of_spec, shards_of_spec
from stockpot.cluster.apiserver import labels
from stockpot.cluster.apiserver.objects import (
    Json,
    annotations_on,
    condition_of,
    container_status,
    is_alive,
    labels_on,
    name_of,
    namespace_of,
    newest_first,
    owner_uid,
    result_in,
    time_of,
    uid_of,
    verb_of,
)
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID
from stockpot.core.runs import Failure, Run, RunName

LOG_LINES = 3
"""Last lines of the log that are quoted for a process that ended without a result."""


def runs_of(jobs: Iterable[Json], pods: Iterable[Json]) -> tuple[Run, ...]:
    """Return the run of each Job, and of each pod whose Job is already gone."""
    of_job: dict[str, list[Json]] = defaultdict(list)
    for pod in pods:
        of_job[owner_uid(pod)].append(pod)
    runs = [run_of(job, of_job.pop(uid_of(job), [])) for job in jobs]
    orphans = (pod for left in of_job.values() for pod in left if labels.RUN in labels_on(pod))
    return (*runs, *(_orphan(pod) for pod in orphans if is_alive(pod)))


def run_of(job: Json, pods: Sequence[Json]) -> Run:
    """Return a run with its result or failure, if it has ended.

    Args:
        job: From the API server.
        pods: The pods that the Job owns.
    """
    about = _about(job)
    name, kind = RunName(labels_on(job)[labels.RUN]), kind_of_run(verb_of(job), about)
    run = Run(name, kind, _lineage(job), about=about)
    ended = condition_of(job, "Complete") or condition_of(job, "Failed")
    if ended is None or any(map(is_alive, pods)):
        return run
    at = time_of(ended.get("lastTransitionTime"))
    if ended["type"] == "Complete":
        return _completed(run, pods, at)
    return replace(run, failure=_failure(job, ended, pods, at))


def _ending(pod: Json) -> Json | None:
    status = container_status(pod) or {}
    ended: Json | None = status.get("state", {}).get("terminated")
    return ended


def _completed(run: Run, pods: Sequence[Json], at: datetime | None) -> Run:
    for pod in newest_first(pods):
        ended = _ending(pod)
        result = result_in(ended.get("message", "")) if ended else None
        if result and result.problem:
            problem = result.problem
            failure = Failure(problem.exit_code, problem.message, problem.help, at)
            return replace(run, failure=failure)
        if result:
            try:
                return replace(run, result=read_result(run.kind, result), ended_at=at)
            except InvalidResult as error:
                return replace(run, failure=Failure(None, error.message, error.help, at))
    return replace(
        run,
        failure=Failure(
            None,
            "it ended well, but its pod went before its result was read",
            "it is run again, and finds its work done",
            at,
        ),
    )


def _failure(job: Json, ended: Json, pods: Sequence[Json], at: datetime | None) -> Failure:
    if ended.get("reason") == "DeadlineExceeded":
        allowed = job["spec"].get("activeDeadlineSeconds", "")
        return Failure(
            None,
            f"the Job was ended by its deadline of {allowed} s",
            "Stockpot sets none: look for a policy that adds activeDeadlineSeconds",
            at,
        )
    for pod in newest_first(pods):
        if pod.get("status", {}).get("phase") == "Failed":
            return _failure_of(pod, at)
    return Failure(
        None,
        "its pod is gone, and left no word: somebody deleted it",
        "it is run again; a training goes on from its last checkpoint",
        at,
    )


def _failure_of(pod: Json, at: datetime | None) -> Failure:
    verb, status = verb_of(pod), pod["status"]
    ended = _ending(pod)
    if ended is None or ended.get("reason") == "ContainerStatusUnknown":
        # The kubelet refused or removed the pod; the reason is in the pod's status.
        return _removed(pod, at)
    at = time_of(ended.get("finishedAt")) or at
    code = int(ended["exitCode"])
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, verb, code, at)
    result = result_in(ended.get("message", ""))
    if result and result.problem:
        return Failure(result.problem.exit_code, result.problem.message, result.problem.help, at)
    if status.get("reason"):
        return _removed(pod, at)
    if code > 128:
        return Failure(
            None,
            f"it was killed by {_signal(code - 128)}",
            "it is run again; a training goes on from its last checkpoint",
            at,
        )
    tail = " ".join(ended.get("message", "").strip().splitlines()[-LOG_LINES:])
    return Failure(
        code,
        f"it ended with exit code {code}" + (f": {tail}" if tail else " and left no word"),
        f"look at its log: kubectl logs -n {namespace_of(pod)} {name_of(pod)}",
        at,
    )


def _out_of_memory(pod: Json, verb: str, code: int, at: datetime | None) -> Failure:
    container = next(entry for entry in pod["spec"]["containers"] if entry["name"] == verb)
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    less = RUN_SPECS[verb].memory_help if verb in RUN_SPECS else ""
    if limit:
        return Failure(
            code,
            f"it was out of memory: its limit is {limit}",
            f"raise pods.resources.{verb}.limits.memory in the chart's values{less}",
            at,
            is_of_resource=True,
        )
    node = pod["spec"].get("nodeName", "")
    return Failure(
        code,
        f"it was out of memory: the node {node} has no more",
        f"set pods.resources.{verb}.requests.memory in the chart's values, so that it is placed "
        f"where there is room{less}",
        at,
        is_of_resource=True,
    )


REMOVALS = {
    "Evicted": (
        "it was evicted",
        "make room on the node, or set pods.resources.{verb}.requests in the chart's values",
    ),
    "NodeLost": ("its node {node} was lost", "it is run again elsewhere"),
    "NodeShutdown": ("its node {node} was shut down", "it is run again elsewhere"),
    "Terminated": ("its node {node} was shut down", "it is run again elsewhere"),
    "Preempting": ("a pod of a higher priority took its place", "it is run again"),
    "DeadlineExceeded": (
        "it was ended by its pod's deadline",
        "Stockpot sets none: look for a policy that adds activeDeadlineSeconds",
    ),
}
"""For a pod's reason: what happened, and what to do."""


def _removed(pod: Json, at: datetime | None) -> Failure:
    status, verb = pod["status"], verb_of(pod)
    reason, details = status.get("reason", ""), status.get("message", "").strip()
    node = pod["spec"].get("nodeName", "")
    what, help_ = REMOVALS.get(
        reason,
        (
            f"the kubelet of {node} ended it" + (f" ({reason})" if reason else ""),
            f"see kubectl describe pod -n {namespace_of(pod)} {name_of(pod)}",
        ),
    )
    message = what.format(node=node) + (f": {details}" if details else "")
    is_of_resource = reason == "Evicted"
    return Failure(None, message, help_.format(verb=verb), at, is_of_resource)


def _orphan(pod: Json) -> Run:
    """Return the run of a pod that outlives its deleted Job."""
    name = RunName(labels_on(pod)[labels.RUN])
    spec = json.loads(annotations_on(pod)[labels.RUN_SPEC])
    run = Run(name, kind_of_spec(spec), about=frozenset(map(ShardUID, shards_of_spec(spec))))
    if RUN_SPECS[verb_of(pod)].deletes:
        return run  # It writes no artefact, whichever release wrote its spec.
    lineage = (
        Ingredient(ShardUID(pair.shard), Digest(pair.training_key))
        for pair in RUN_SPEC.validate_python(spec).lineage
    )
    return replace(run, lineage=frozenset(lineage))


def _about(job: Json) -> frozenset[ShardUID]:
    """Return the shards that a Job is about; the release before wrote one, as a label."""
    listed = json.loads(annotations_on(job).get(labels.SHARD_UIDS, "[]"))
    label = labels_on(job).get(labels.SHARD_UID)
    return frozenset(map(ShardUID, listed or ([label] if label else [])))


def _lineage(job: Json) -> Lineage:
    pairs = json.loads(annotations_on(job).get(labels.LINEAGE, "[]"))
    return frozenset(Ingredient(ShardUID(shard), Digest(key)) for shard, key in pairs)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
