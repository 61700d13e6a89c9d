from datetime import UTC, datetime, timedelta

import pytest
from tests.cluster.shapes import (
    SOUP,
    Json,
    a_container,
    a_job,
    a_pod,
    a_pod_that_waits,
    a_signing,
    an_event,
    said,
    servers,
    settings,
)

from stockpot.api.conditions import Reason
from stockpot.api.results import Problem, ResultMessage
from stockpot.cluster.manifests.deployment import deployment_of
from stockpot.cluster.manifests.startup_blockers import hindrance_of
from stockpot.core.runs import StartupBlocker

NOW = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


def found(job: Json, *pods: Json, events: tuple[Json, ...] = ()) -> StartupBlocker | None:
    return hindrance_of(job, pods, events, NOW)


def deployment(*conditions: Json) -> Json:
    one = deployment_of(SOUP, servers(), 1, settings())
    one["metadata"] |= {"uid": "deployment-uid"}
    return {**one, "status": {"conditions": list(conditions)}}


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


def asking(job: Json, **requests: str) -> Json:
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": requests}
    return job


# ------------------------------------------------------------------------------ all is well


def test_a_pod_that_runs_is_not_hindered() -> None:
    job = a_job()

    assert found(job, a_pod(job, conditions=[{"type": "Ready", "status": "True"}])) is None


def test_a_pod_that_is_being_made_is_not_hindered() -> None:
    job = a_job()

    assert found(job) is None
    assert found(job, a_pod(job, "Pending")) is None
    assert found(job, a_pod_that_waits(job, "ContainerCreating")) is None


def test_an_old_event_of_another_pod_is_passed_over() -> None:
    job = a_job()
    other = a_pod(job, name="pod-0")
    event = an_event(other, "FailedMount", 'MountVolume.SetUp failed: secret "x" not found')

    assert found(job, a_pod_that_waits(job, "ContainerCreating"), events=(event,)) is None


# ---------------------------------------------------------------------------------- images

NO_SUCH = (
    'failed to pull and unpack image "example.org/trainer:1": failed to resolve reference '
    '"example.org/trainer:1": example.org/trainer:1: not found'
)


@pytest.mark.parametrize(
    ("text", "why", "help_"),
    [
        (NO_SUCH, "the registry has no such image", "build and push it"),
        ("401 Unauthorized", "the registry does not let us", "images.pullSecrets"),
        ("pull access denied, repository does not exist", "does not let us", "images.pullSecrets"),
        ("dial tcp: lookup example.org: no such host", "does not answer the node", "network"),
        ("x509: certificate signed by unknown authority", "certificate is not trusted", "trust"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named_with_the_cause(
    text: str, why: str, help_: str
) -> None:
    job = a_job()

    hindrance = found(job, a_pod_that_waits(job, "ErrImagePull", text))

    assert hindrance
    assert hindrance.reason == Reason.IMAGE_UNAVAILABLE
    assert hindrance.message.startswith("the image example.org/trainer:1 cannot be pulled: ")
    assert why in hindrance.message
    assert help_ in hindrance.help


def test_between_two_pulls_the_same_is_said() -> None:
    job = a_job()
    pulling = a_pod_that_waits(job, "ErrImagePull", NO_SUCH)
    backing_off = a_pod_that_waits(
        job, "ImagePullBackOff", 'Back-off pulling image "example.org/trainer:1"'
    )
    events = (
        an_event(pulling, "Failed", f"Failed to pull image: {NO_SUCH}"),
        an_event(pulling, "Failed", "Error: ImagePullBackOff", at="2026-11-22T12:03:00Z"),
    )

    assert found(job, pulling, events=events) == found(job, backing_off, events=events)


def test_what_is_no_name_of_an_image_is_quoted() -> None:
    job = a_job()

    hindrance = found(job, a_pod_that_waits(job, "InvalidImageName", image="Trainer:"))

    assert hindrance == StartupBlocker(
        Reason.IMAGE_UNAVAILABLE,
        "'Trainer:' is no name of an image",
        "name one in images of the chart's values",
    )


# --------------------------------------------------------------------------------- secrets


def test_a_secret_that_is_not_there_is_named_with_what_makes_it() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "CreateContainerConfigError", 'secret "store-workload" not found')

    hindrance = found(job, pod)

    assert hindrance
    assert hindrance.reason == Reason.SECRET_NOT_FOUND
    assert hindrance.message == "the Secret store-workload is not there (namespace studio)"
    assert "kubectl create secret generic -n studio store-workload" in hindrance.help


def test_a_key_that_is_not_in_a_secret_is_named() -> None:
    job = a_job()
    text = "couldn't find key PASSWORD in Secret studio/mine"

    hindrance = found(job, a_pod_that_waits(job, "CreateContainerConfigError", text))

    assert hindrance
    assert hindrance.message == "the Secret mine has no key PASSWORD (namespace studio)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'MountVolume.SetUp failed for volume "signing" : secret "stockpot-signing" not found',
            "the Secret stockpot-signing is not there (namespace stockpot-system)",
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

    hindrance = found(job, pod, events=(an_event(pod, "FailedMount", text),))

    assert hindrance
    assert (hindrance.reason, hindrance.message) == (Reason.SECRET_NOT_FOUND, message)


def test_a_kubelet_that_only_needs_a_moment_is_no_hindrance() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ContainerCreating")
    text = (
        'MountVolume.SetUp failed for volume "x" : failed to sync secret cache: '
        "timed out waiting for the condition"
    )

    assert found(job, pod, events=(an_event(pod, "FailedMount", text),)) is None


# ---------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            (
                '0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: 0/1 '
                "nodes are available: 1 Preemption is not helpful for scheduling."
            ),
            "the claim data is not in the namespace studio",
        ),
        (
            (
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
                "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            ),
            "a claim that the pod needs has no volume yet (data)",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
            "a claim that the pod needs has no volume yet (data)",
        ),
    ],
)
def test_a_claim_without_a_volume_is_named(text: str, message: str) -> None:
    job = a_job()

    hindrance = found(job, unplaced(job, text))

    assert hindrance
    assert (hindrance.reason, hindrance.message) == (Reason.CLAIM_UNBOUND, message)
    assert "kubectl" in hindrance.help


def test_a_claim_that_cannot_be_mounted_is_named_by_its_own_name() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ContainerCreating")
    text = 'MountVolume.NewMounter initialization failed for volume "claim-0" : path "/x" not there'

    hindrance = found(job, pod, events=(an_event(pod, "FailedMount", text),))

    assert hindrance
    assert hindrance.message.startswith("the claim data cannot be mounted on the node node-1: ")


def test_a_folder_that_is_not_on_its_claim_is_the_sources_matter() -> None:
    job = a_job()
    text = 'failed to create subPath directory for volumeMount "claim-0" of container "train"'

    hindrance = found(job, a_pod_that_waits(job, "CreateContainerConfigError", text))

    assert hindrance
    assert hindrance.reason == Reason.SOURCE_NOT_FOUND


# ------------------------------------------------------------------------------ scheduling


def test_a_pod_that_fits_nowhere_says_which_resource_and_how_much() -> None:
    job = asking(a_job(), **{"nvidia.com/gpu": "1", "memory": "64Gi"})
    text = (
        "0/3 nodes are available: 1 Insufficient memory, 3 Insufficient nvidia.com/gpu. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )

    hindrance = found(job, unplaced(job, text))

    assert hindrance == StartupBlocker(
        Reason.UNSCHEDULABLE,
        "no node has room for the pod, which needs 64Gi memory and 1 nvidia.com/gpu",
        "add a node, wait for room, or lower pods.resources.train in the chart's values",
    )


def test_a_taint_is_named_with_where_to_tolerate_it() -> None:
    job = a_job()
    text = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu-only: }. preemption: x"

    hindrance = found(job, unplaced(job, text))

    assert hindrance
    assert hindrance.message == "no node takes the pod: they have the taint gpu-only"
    assert "pods.tolerations" in hindrance.help


def test_a_selector_that_no_node_has_is_quoted() -> None:
    job = a_job()
    pod = unplaced(
        job, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    )
    pod["spec"]["nodeSelector"] = {"gpu": "yes"}

    hindrance = found(job, pod)

    assert hindrance
    assert hindrance.message == "no node has the labels that the pod asks for (gpu=yes)"


def test_what_is_said_does_not_change_with_the_number_of_nodes() -> None:
    job = a_job()

    one = found(job, unplaced(job, "0/1 nodes are available: 1 node(s) were unschedulable."))
    three = found(job, unplaced(job, "0/3 nodes are available: 3 node(s) were unschedulable."))

    assert one == three
    assert one
    assert one.message == "no node takes the pod: node(s) were unschedulable"


# -------------------------------------------------------------------- pods that are refused

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

    of_job = found(job, events=(an_event(job, "FailedCreate", text),))
    of_servers = found(deployment({**failure, "message": text.removeprefix("Error creating: ")}))

    for hindrance in (of_job, of_servers):
        assert hindrance
        assert hindrance.reason == reason
        assert message in hindrance.message
        assert help_ in hindrance.help


def test_two_refusals_of_one_cause_say_the_same() -> None:
    job = a_job()
    again = QUOTA.replace("x-4ltw8", "x-9zzzz")

    first = found(job, events=(an_event(job, "FailedCreate", QUOTA),))
    second = found(
        job,
        events=(
            an_event(job, "FailedCreate", QUOTA),
            an_event(job, "FailedCreate", again, at="2026-11-22T12:04:00Z"),
        ),
    )

    assert first == second


def test_a_job_that_has_its_pod_after_all_is_not_hindered() -> None:
    job = a_job()

    assert found(job, a_pod(job), events=(an_event(job, "FailedCreate", QUOTA),)) is None


# ----------------------------------------------------------------------------------- nodes


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

    hindrance = found(job, pod)

    assert hindrance
    assert hindrance.reason == Reason.NODE_LOST
    assert "the node node-1 does not answer" in hindrance.message
    assert "kubectl delete node node-1" in hindrance.help


def test_a_pod_that_should_have_ended_long_ago_is_on_a_silent_node() -> None:
    job = a_job()
    pod = a_pod(job)
    pod["metadata"]["deletionTimestamp"] = (NOW - timedelta(seconds=60)).isoformat()

    hindrance = found(job, pod)

    assert hindrance
    assert hindrance.reason == Reason.NODE_LOST


def test_a_pod_that_is_ending_in_time_is_not_hindered() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ErrImagePull", NO_SUCH)
    pod["metadata"]["deletionTimestamp"] = (NOW + timedelta(seconds=20)).isoformat()

    assert found(job, pod) is None


# --------------------------------------------------------------------------------- crashes


def crashed(message: str = "", code: int = 1, reason: str = "Error") -> Json:
    ended = {"exitCode": code, "reason": reason, "message": message}
    one = deployment()
    return a_pod_that_waits(
        one, "CrashLoopBackOff", restartCount=4, lastState={"terminated": ended}
    )


def test_a_server_that_crashes_says_what_it_said_last() -> None:
    problem = Problem(exit_code=45, message="the base brings code", help="take it away")

    hindrance = found(deployment(), crashed(said(ResultMessage(problem=problem)), 45))

    assert hindrance == StartupBlocker(
        Reason.CRASHING, "the server ends again and again: the base brings code", "take it away"
    )


def test_a_server_that_crashes_without_a_word_leaves_its_exit_code_and_log() -> None:
    hindrance = found(deployment(), crashed("one\nSegmentation fault\n", 139))

    assert hindrance
    assert hindrance.message == (
        "the server ends again and again, with exit code 139: Segmentation fault"
    )
    assert "--previous" in hindrance.help


def test_a_server_out_of_memory_names_the_value_to_raise() -> None:
    hindrance = found(deployment(), crashed("", 137, "OOMKilled"))

    assert hindrance
    assert hindrance.message == "the server is out of memory again and again"
    assert "pods.resources.serve.limits.memory" in hindrance.help


def test_between_two_crashes_the_same_is_said() -> None:
    pod = crashed("", 1)
    running = crashed("", 1)
    running["status"]["containerStatuses"][0]["state"] = {"running": {}}

    assert found(deployment(), pod) == found(deployment(), running) is not None


def test_a_server_that_got_over_its_crashes_is_not_hindered() -> None:
    running = crashed("", 1)
    running["status"]["containerStatuses"][0] |= {"state": {"running": {}}, "started": True}

    assert found(deployment(), running) is None
