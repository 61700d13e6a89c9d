"""Explanations for pods that cannot be created or do not start."""

from datetime import timedelta

import pytest
from tests.cluster.blockers import NOW, blocker_of, deployment
from tests.cluster.shapes import (
    Json,
    a_container,
    a_job,
    a_pod,
    a_pod_that_waits,
    a_signing,
    an_event,
    message_of,
)

from stockpot.api.conditions import Reason
from stockpot.api.results import Problem, ResultMessage
from stockpot.core.runs import StartupBlocker

NO_SUCH = (
    'failed to pull and unpack image "example.org/trainer:1": failed to resolve reference '
    '"example.org/trainer:1": example.org/trainer:1: not found'
)


# --- all is well


def test_a_pod_that_runs_is_not_hindered() -> None:
    job = a_job()

    assert blocker_of(job, a_pod(job, conditions=[{"type": "Ready", "status": "True"}])) is None


def test_a_pod_that_is_being_made_is_not_hindered() -> None:
    job = a_job()

    assert blocker_of(job) is None
    assert blocker_of(job, a_pod(job, "Pending")) is None
    assert blocker_of(job, a_pod_that_waits(job, "ContainerCreating")) is None


def test_an_old_event_of_another_pod_is_passed_over() -> None:
    job = a_job()
    other = a_pod(job, name="pod-0")
    event = an_event(other, "FailedMount", 'MountVolume.SetUp failed: secret "x" not found')

    assert blocker_of(job, a_pod_that_waits(job, "ContainerCreating"), events=(event,)) is None


# --- queues


def test_a_job_in_a_queue_is_queued() -> None:
    job = a_job()
    job["spec"]["suspend"] = True
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"

    blocker = blocker_of(job)

    assert blocker is not None
    assert blocker.reason is Reason.QUEUED
    assert blocker.message.endswith("is in the queue gpus")
    assert "kubectl get workload -n" in blocker.help


def test_a_job_that_somebody_suspended_is_queued_with_the_command_that_resumes_it() -> None:
    job = a_job()
    job["spec"]["suspend"] = True

    blocker = blocker_of(job)

    assert blocker is not None
    assert blocker.reason is Reason.QUEUED
    assert """--type merge -p '{"spec":{"suspend":false}}'""" in blocker.help


# --- secrets


def test_a_secret_that_is_not_there_is_named_with_what_makes_it() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "CreateContainerConfigError", 'secret "store-workload" not found')

    blocker = blocker_of(job, pod)

    assert blocker
    assert blocker.reason == Reason.SECRET_NOT_FOUND
    assert blocker.message == "the Secret store-workload does not exist (namespace studio)"
    assert "kubectl create secret generic -n studio store-workload" in blocker.help


def test_a_key_that_is_not_in_a_secret_is_named() -> None:
    job = a_job()
    text = "couldn't find key PASSWORD in Secret studio/mine"

    blocker = blocker_of(job, a_pod_that_waits(job, "CreateContainerConfigError", text))

    assert blocker
    assert blocker.message == "the Secret mine has no key PASSWORD (namespace studio)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'MountVolume.SetUp failed for volume "signing" : secret "stockpot-signing" not found',
            "the Secret stockpot-signing does not exist (namespace stockpot-system)",
        ),
        (
            (
                'MountVolume.SetUp failed for volume "signing" : references non-existent '
                "secret key: signing-key.pem"
            ),
            "the Secret stockpot-signing has no key signing-key.pem (namespace stockpot-system)",
        ),
    ],
)
def test_a_signing_key_that_is_not_there_is_named(text: str, message: str) -> None:
    job = a_job(a_signing())
    pod = a_pod_that_waits(job, "ContainerCreating")

    blocker = blocker_of(job, pod, events=(an_event(pod, "FailedMount", text),))

    assert blocker
    assert (blocker.reason, blocker.message) == (Reason.SECRET_NOT_FOUND, message)


def test_a_kubelet_that_only_needs_a_moment_is_no_hindrance() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ContainerCreating")
    text = (
        'MountVolume.SetUp failed for volume "x" : failed to sync secret cache: '
        "timed out waiting for the condition"
    )

    assert blocker_of(job, pod, events=(an_event(pod, "FailedMount", text),)) is None


# --- pods that are refused

QUOTA = (
    'Error creating: pods "x-4ltw8" is forbidden: exceeded quota: small, requested: '
    "requests.cpu=2, used: requests.cpu=1, limited: requests.cpu=2"
)
ACCOUNT = (
    'Error creating: pods "x-" is forbidden: error looking up service account '
    'studio/stockpot-workload: serviceaccount "stockpot-workload" not found'
)
SECURITY = (
    'Error creating: pods "x-v7d2x" is forbidden: violates PodSecurity "restricted:latest": '
    'restricted volume types (volume "code" uses restricted volume type "hostPath")'
)


@pytest.mark.parametrize(
    ("text", "reason", "message", "help_"),
    [
        (QUOTA, Reason.QUOTA_EXCEEDED, "exceeded quota: small", "kubectl describe quota -n studio"),
        (ACCOUNT, Reason.FORBIDDEN, "the ServiceAccount stockpot-workload is not in", "helm"),
        (SECURITY, Reason.FORBIDDEN, 'violates PodSecurity "restricted:latest"', "pods.volumes"),
    ],
)
def test_a_pod_that_the_api_server_refuses_says_why(
    text: str, reason: Reason, message: str, help_: str
) -> None:
    job = a_job()
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}

    of_job = blocker_of(job, events=(an_event(job, "FailedCreate", text),))
    of_servers = blocker_of(
        deployment({**failure, "message": text.removeprefix("Error creating: ")})
    )

    for blocker in (of_job, of_servers):
        assert blocker
        assert blocker.reason == reason
        assert message in blocker.message
        assert help_ in blocker.help


def test_two_refusals_of_one_cause_say_the_same() -> None:
    job = a_job()
    again = QUOTA.replace("x-4ltw8", "x-9zzzz")

    first = blocker_of(job, events=(an_event(job, "FailedCreate", QUOTA),))
    second = blocker_of(
        job,
        events=(
            an_event(job, "FailedCreate", QUOTA),
            an_event(job, "FailedCreate", again, at="2026-11-22T12:04:00Z"),
        ),
    )

    assert first == second


def test_a_job_that_has_its_pod_after_all_is_not_hindered() -> None:
    job = a_job()

    assert blocker_of(job, a_pod(job), events=(an_event(job, "FailedCreate", QUOTA),)) is None


# --- nodes


def test_a_node_that_does_not_answer_is_named() -> None:
    job = a_job()
    pod = a_pod(
        job,
        conditions=[
            {"type": "Ready", "status": "False"},
            {"type": "ContainersReady", "status": "True"},
        ],
        containerStatuses=a_container(job, {"running": {}}, ready=True),
    )

    blocker = blocker_of(job, pod)

    assert blocker
    assert blocker.reason == Reason.NODE_LOST
    assert "the node node-1 does not answer" in blocker.message
    assert "kubectl delete node node-1" in blocker.help


def test_a_pod_that_should_have_ended_long_ago_is_on_a_silent_node() -> None:
    job = a_job()
    pod = a_pod(job)
    pod["metadata"]["deletionTimestamp"] = (NOW - timedelta(seconds=60)).isoformat()

    blocker = blocker_of(job, pod)

    assert blocker
    assert blocker.reason == Reason.NODE_LOST


def test_a_pod_that_is_ending_in_time_is_not_hindered() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ErrImagePull", NO_SUCH)
    pod["metadata"]["deletionTimestamp"] = (NOW + timedelta(seconds=20)).isoformat()

    assert blocker_of(job, pod) is None


# --- crashes


def crashed(message: str = "", code: int = 1, reason: str = "Error") -> Json:
    ended = {"exitCode": code, "reason": reason, "message": message}
    servers_of_soup = deployment()
    return a_pod_that_waits(
        servers_of_soup, "CrashLoopBackOff", restartCount=4, lastState={"terminated": ended}
    )


def test_a_server_that_crashes_says_what_it_said_last() -> None:
    problem = Problem(exit_code=45, message="the base brings code", help="take it away")

    blocker = blocker_of(deployment(), crashed(message_of(ResultMessage(problem=problem)), 45))

    assert blocker == StartupBlocker(
        Reason.CRASHING, "the server keeps crashing: the base brings code", "take it away"
    )


def test_a_server_that_crashes_without_a_word_leaves_its_exit_code_and_log() -> None:
    blocker = blocker_of(deployment(), crashed("one\nSegmentation fault\n", 139))

    assert blocker
    assert blocker.message == ("the server keeps crashing, with exit code 139: Segmentation fault")
    assert "--previous" in blocker.help


def test_a_server_out_of_memory_names_the_value_to_raise() -> None:
    blocker = blocker_of(deployment(), crashed("", 137, "OOMKilled"))

    assert blocker
    assert blocker.message == "the server repeatedly runs out of memory"
    assert "pods.resources.serve.limits.memory" in blocker.help


def test_between_two_crashes_the_same_is_said() -> None:
    pod = crashed("", 1)
    running = crashed("", 1)
    running["status"]["containerStatuses"][0]["state"] = {"running": {}}

    assert blocker_of(deployment(), pod) == blocker_of(deployment(), running) is not None


def test_a_server_that_got_over_its_crashes_is_not_hindered() -> None:
    running = crashed("", 1)
    running["status"]["containerStatuses"][0] |= {"state": {"running": {}}, "started": True}

    assert blocker_of(deployment(), running) is None
