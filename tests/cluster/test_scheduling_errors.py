"""Explanations for pods that no node takes, and for claims without a volume."""

import pytest
from tests.cluster.blockers import blocker_of, requesting, unplaced
from tests.cluster.shapes import (
    a_job,
    a_pod_that_waits,
    an_event,
)

from stockpot.api.conditions import Reason
from stockpot.core.runs import StartupBlocker


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

    blocker = blocker_of(job, unplaced(job, text))

    assert blocker
    assert (blocker.reason, blocker.message) == (Reason.CLAIM_UNBOUND, message)
    assert "kubectl" in blocker.help


def test_a_claim_that_cannot_be_mounted_is_named_by_its_own_name() -> None:
    job = a_job()
    pod = a_pod_that_waits(job, "ContainerCreating")
    text = 'MountVolume.NewMounter initialization failed for volume "claim-0" : path "/x" not there'

    blocker = blocker_of(job, pod, events=(an_event(pod, "FailedMount", text),))

    assert blocker
    assert blocker.message.startswith("the claim data cannot be mounted on the node node-1: ")


def test_a_folder_that_is_not_on_its_claim_is_the_sources_matter() -> None:
    job = a_job()
    text = 'failed to create subPath directory for volumeMount "claim-0" of container "train"'

    blocker = blocker_of(job, a_pod_that_waits(job, "CreateContainerConfigError", text))

    assert blocker
    assert blocker.reason == Reason.SOURCE_NOT_FOUND


def test_a_pod_that_fits_nowhere_says_which_resource_and_how_much() -> None:
    job = requesting(a_job(), **{"nvidia.com/gpu": "1", "memory": "64Gi"})
    text = (
        "0/3 nodes are available: 1 Insufficient memory, 3 Insufficient nvidia.com/gpu. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )

    blocker = blocker_of(job, unplaced(job, text))

    assert blocker == StartupBlocker(
        Reason.UNSCHEDULABLE,
        "no node has room for the pod, which needs 64Gi memory and 1 nvidia.com/gpu",
        "add a node, wait for room, or lower pods.resources.train in the chart's values",
    )


def test_a_taint_is_named_with_where_to_tolerate_it() -> None:
    job = a_job()
    text = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu-only: }. preemption: x"

    blocker = blocker_of(job, unplaced(job, text))

    assert blocker
    assert blocker.message == "no node takes the pod: they have the taint gpu-only"
    assert "pods.tolerations" in blocker.help


def test_a_selector_that_no_node_has_is_quoted() -> None:
    job = a_job()
    pod = unplaced(
        job, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    )
    pod["spec"]["nodeSelector"] = {"gpu": "yes"}

    blocker = blocker_of(job, pod)

    assert blocker
    assert blocker.message == "no node has the labels that the pod asks for (gpu=yes)"


def test_what_is_said_does_not_change_with_the_number_of_nodes() -> None:
    job = a_job()

    single = blocker_of(
        job, unplaced(job, "0/1 nodes are available: 1 node(s) were unschedulable.")
    )
    three = blocker_of(job, unplaced(job, "0/3 nodes are available: 3 node(s) were unschedulable."))

    assert single == three
    assert single
    assert single.message == "no node takes the pod: node(s) were unschedulable"
