"""A run as its Job and pods show it: active, finished with a result, or failed with a reason."""

from datetime import UTC, datetime

import pytest
from tests.builders import a_result
from tests.cluster.shapes import (
    DIGEST,
    FOOD,
    LINEAGE,
    NAME,
    Json,
    a_container,
    a_job,
    a_merge,
    a_pod,
    a_pod_that_ended,
    a_purge,
    a_training,
    ended,
    message_of,
)

from stockpot.api.results import Problem, ResultMessage
from stockpot.api.run_kinds import RunKind
from stockpot.cluster.manifests.job_status import run_of, runs_of
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.runs import Failure, Run

ENDED = datetime(2026, 11, 22, 12, 9, 30, tzinfo=UTC)
FAILED = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
TRAINED = a_result(RunKind.TRAIN, records=3)


def test_a_run_goes_into_a_job_and_comes_out_again() -> None:
    assert run_of(a_job(), []) == Run(
        NAME, RunKind.TRAIN, LINEAGE, about=frozenset({ShardUID(FOOD.uid)})
    )


def test_a_job_that_is_done_has_the_result_that_its_pod_left() -> None:
    job, result = a_job(), a_result(RunKind.TRAIN, figures={"loss": "0.1"})

    run = run_of(ended(job, "Complete"), [a_pod_that_ended(job, 0, message_of(result.message()))])

    assert run == Run(
        NAME,
        RunKind.TRAIN,
        LINEAGE,
        result,
        ended_at=run.ended_at,
        about=frozenset({ShardUID(FOOD.uid)}),
    )
    assert run.ended_at is not None


def test_a_replaced_pod_does_not_hide_the_one_that_did_the_work() -> None:
    job = a_job()
    disrupted = a_pod_that_ended(job, 143)
    disrupted["metadata"]["creationTimestamp"] = "2026-11-22T11:00:00Z"

    run = run_of(
        ended(job, "Complete"),
        [a_pod_that_ended(job, 0, message_of(TRAINED.message())), disrupted],
    )

    assert run.result == TRAINED


@pytest.mark.parametrize("kind", [RunKind.MERGE, RunKind.PURGE, RunKind.SERVE])
def test_a_training_that_answers_with_another_verbs_result_has_failed(kind: RunKind) -> None:
    job = a_job()

    run = run_of(
        ended(job, "Complete"), [a_pod_that_ended(job, 0, message_of(a_result(kind).message()))]
    )

    assert run.result is None
    assert run.failure
    assert not run.failure.is_final, "its images may be changed"
    assert "its result is not one of a train run: " in run.failure.message
    assert "images" in run.failure.help


def test_a_purge_whose_residuals_are_misspelt_has_failed_and_is_no_complete_one() -> None:
    job = a_job(a_purge())
    text = message_of(a_result(RunKind.PURGE, residual_count=2).message())

    run = run_of(
        ended(job, "Complete"),
        [a_pod_that_ended(job, 0, text.replace('"residuals":"2"', '"residualz":"2"'))],
    )

    assert run.kind is RunKind.PURGE
    assert run.failure
    assert "figures.residuals" in run.failure.message


def test_a_purge_of_no_shard_is_a_rescan() -> None:
    spec = a_purge().model_copy(update={"shard": None, "forgotten": (FOOD.uid,)})

    assert run_of(a_job(spec), []).kind is RunKind.RESCAN
    assert runs_of([], [a_pod(a_job(spec), "Running")])[0].kind is RunKind.RESCAN


def test_a_result_that_nobody_can_read_any_more_is_asked_for_again() -> None:
    run = run_of(ended(a_job(), "Complete"), [])

    assert run.failure
    assert not run.failure.is_final
    assert "before its result was read" in run.failure.message


def test_what_a_run_says_of_its_failure_is_what_is_said() -> None:
    job = a_job()
    problem = Problem(exit_code=42, message="the folder is empty", help="put pictures there")

    run = run_of(
        ended(job, "Failed", "PodFailurePolicy"),
        [a_pod_that_ended(job, 42, message_of(ResultMessage(problem=problem)))],
    )

    assert run.failure == Failure(42, "the folder is empty", "put pictures there", ENDED)
    assert run.failure.is_final


def test_a_job_that_failed_is_active_while_one_of_its_pods_may_still_write() -> None:
    job = a_job()
    silent = a_pod(job, "Running")
    silent["metadata"]["deletionTimestamp"] = "2026-11-22T12:05:00Z"

    run = run_of(ended(job, "Failed", "BackoffLimitExceeded"), [silent])

    assert run.is_active


def test_a_job_that_is_about_to_fail_has_not_ended() -> None:
    job = a_job()

    run = run_of(ended(job, "FailureTarget", "PodFailurePolicy"), [a_pod_that_ended(job, 42)])

    assert run.is_active


def with_limit(job: Json, memory: str) -> Json:
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": memory}}
    return job


def test_out_of_memory_names_the_limit_and_where_to_raise_it() -> None:
    job = with_limit(a_job(), "2Gi")

    run = run_of(ended(job, "Failed"), [a_pod_that_ended(job, 137, reason="OOMKilled")])

    assert run.failure == Failure(
        137,
        "it was out of memory: its limit is 2Gi",
        "raise pods.resources.train.limits.memory in the chart's values, "
        "or lower training.trainBatchSize",
        ENDED,
        is_of_resource=True,
    )


def test_out_of_memory_without_a_limit_is_the_nodes() -> None:
    job = a_job()

    run = run_of(ended(job, "Failed"), [a_pod_that_ended(job, 137, reason="OOMKilled")])

    assert run.failure
    assert run.failure.message == "it was out of memory: the node node-1 has no more"
    assert "requests.memory" in run.failure.help


def test_an_evicted_pod_says_of_what_the_node_had_too_little() -> None:
    job = a_job()
    pod = a_pod(
        job,
        "Failed",
        reason="Evicted",
        message="The node was low on resource: memory. Container train was using 3Gi.",
    )

    run = run_of(ended(job, "Failed"), [pod])

    assert run.failure
    assert run.failure.message.startswith("it was evicted: The node was low on resource: memory")
    assert "pods.resources.train.requests" in run.failure.help
    assert not run.failure.is_final


@pytest.mark.parametrize("reason", ["NodeLost", "NodeShutdown", "Terminated"])
def test_a_lost_node_is_named(reason: str) -> None:
    job = a_job()

    run = run_of(ended(job, "Failed"), [a_pod(job, "Failed", reason=reason)])

    assert run.failure
    assert "its node node-1 was" in run.failure.message


def test_a_container_of_which_the_kubelet_lost_sight_is_no_exit_code_of_ours() -> None:
    job = a_job()
    pod = a_pod_that_ended(job, 137, reason="ContainerStatusUnknown")

    run = run_of(ended(job, "Failed"), [pod])

    assert run.failure
    assert run.failure.exit_code is None
    assert "node-1" in run.failure.message


def test_a_signal_is_named() -> None:
    job = a_job()

    run = run_of(ended(job, "Failed"), [a_pod_that_ended(job, 137)])

    assert run.failure
    assert run.failure.exit_code is None
    assert run.failure.message == "it was killed by SIGKILL"


def test_a_process_without_a_word_leaves_the_end_of_its_log() -> None:
    job = a_job()
    log = "Traceback (most recent call last):\n  File x\nImportError: no torch here\n"

    run = run_of(ended(job, "Failed"), [a_pod_that_ended(job, 1, log)])

    assert run.failure
    assert run.failure.message.endswith("ImportError: no torch here")
    assert "kubectl logs -n studio emoji-5f3a9-train" in run.failure.help


def test_a_pod_that_somebody_deleted_is_no_failure_for_ever() -> None:
    run = run_of(ended(a_job(), "Failed", "BackoffLimitExceeded"), [])

    assert run.failure
    assert run.failure.exit_code is None
    assert "somebody deleted it" in run.failure.message
    assert run.failure.at == FAILED


def test_a_deadline_is_somebody_elses() -> None:
    job = a_job()
    job["spec"]["activeDeadlineSeconds"] = 60

    run = run_of(ended(job, "Failed", "DeadlineExceeded"), [])

    assert run.failure
    assert "deadline of 60 s" in run.failure.message
    assert "policy" in run.failure.help


def test_a_sidecar_does_not_speak_for_the_run() -> None:
    job = a_job()
    pod = a_pod_that_ended(job, 0, message_of(TRAINED.message()))
    pod["status"]["containerStatuses"].insert(
        0, {"name": "proxy", "state": {"terminated": {"exitCode": 9, "message": "bye"}}}
    )

    assert run_of(ended(job, "Complete"), [pod]).result == TRAINED


def test_a_pod_that_outlives_its_deleted_job_is_still_a_writer() -> None:
    merge = a_job(a_merge())
    pod = a_pod(merge, "Running")

    (run,) = runs_of([], [pod])

    assert run.is_active
    assert run.lineage == frozenset(
        {Ingredient(ShardUID(f"00000000{FOOD.uid[8:]}"), Digest(DIGEST))}
    )


def test_an_orphan_that_has_ended_is_no_run_any_more() -> None:
    job = a_job()

    assert runs_of([], [a_pod_that_ended(job, 0)]) == ()


def test_pods_are_told_apart_by_their_jobs() -> None:
    first, second = a_job(), a_job(a_training().model_copy(update={"name": "train-other-1"}))
    second["metadata"]["uid"] = "other-uid"

    runs = runs_of(
        [ended(first, "Complete"), second],
        [a_pod_that_ended(first, 0, message_of(TRAINED.message())), a_pod(second)],
    )

    assert [(run.name, run.is_active) for run in runs] == [(NAME, False), ("train-other-1", True)]


def test_a_pod_that_nobody_has_placed_yet_is_not_the_end() -> None:
    job = a_job()
    pod = a_pod(job, "Pending", containerStatuses=a_container(job, {"waiting": {}}))

    assert run_of({**job, "status": {"active": 1}}, [pod]).is_active
