"""A corrected setting of the chart cures what waits for it, and nothing else is touched."""

from collections.abc import Callable

from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.objects import Json, labels_on, name_of, uid_of
from stockpot.cluster.apiserver.resources import JOBS, SOUPS

CURED_WITHIN_S = 30.0
IMAGE = "example.org/trainer:1"
NO_IMAGE = {
    "image": IMAGE,
    "waiting": "ImagePullBackOff",
    "message": f'Failed to pull image "{IMAGE}": manifest unknown',
    "event": "Failed",
}
RIGHT_IMAGES = {"workload": "example.org/trainer:2", "unlearn": "example.org/stockpot:1"}


def stalls(test_cluster: TestCluster, name: str, reason: str) -> None:
    test_cluster.until(
        lambda: (
            test_cluster.is_so(name, "Stalled")
            and test_cluster.condition(name, "Ready")["reason"] == reason
        ),
        f"{name} is Stalled with {reason}",
    )


def upgrade(test_cluster: TestCluster, operator: Operator, **settings: object) -> None:
    """Upgrade the release as Helm does: an operator with other settings replaces the one there."""
    operator.end()
    test_cluster.operator("upgraded", **settings)


def job_of(test_cluster: TestCluster, shard: str, verb: str = "train") -> Json:
    [job] = [
        job for job in test_cluster.jobs(verb) if labels_on(job).get("stockpot.dev/shard") == shard
    ]
    return job


def with_train_resources(test_cluster: TestCluster, resources: Json) -> Json:
    on_its_node = {
        "nodeSelector": {"kubernetes.io/hostname": test_cluster.kubelet.node},
        "tolerations": [{"operator": "Exists"}],
    }
    return {**on_its_node, "resources": {"train": resources}}


def test_an_image_that_can_be_pulled_cures_trainings(
    test_cluster: TestCluster, figure: Callable[[str, object], None]
) -> None:
    test_cluster.kubelet.order(Order("train", **NO_IMAGE))
    operator = test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    stalls(test_cluster, "food", "ImageUnavailable")
    name = name_of(job_of(test_cluster, "food"))

    upgrade(test_cluster, operator, images=RIGHT_IMAGES)

    figure("image corrected to learnt, s", test_cluster.learnt("food", within_s=CURED_WITHIN_S))
    assert name.endswith("-1")
    assert test_cluster.posted("train") == [name, name], "what never started counts as an attempt"


def test_an_image_that_can_be_pulled_cures_the_merge_and_the_servers(
    test_cluster: TestCluster,
) -> None:
    operator = test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.kubelet.order(Order("merge", **NO_IMAGE))
    test_cluster.shard("travel")
    test_cluster.until(
        lambda: test_cluster.condition("soup", "Stalled", SOUPS)["reason"] == "ImageUnavailable",
        "the merge is stuck",
    )
    # What is served goes on being served.
    assert test_cluster.condition("food", "Included")["status"] == "True"

    upgrade(test_cluster, operator, images=RIGHT_IMAGES)

    test_cluster.learnt("food", "travel", within_s=CURED_WITHIN_S)


def test_a_gpu_that_nobody_has_is_cured_by_asking_for_none(
    test_cluster: TestCluster, figure: Callable[[str, object], None]
) -> None:
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    operator = test_cluster.operator(pods=with_train_resources(test_cluster, gpu))
    test_cluster.soup()
    test_cluster.shard("food")
    stalls(test_cluster, "food", "Unschedulable")

    upgrade(test_cluster, operator)

    figure("GPU corrected to learnt, s", test_cluster.learnt("food", within_s=CURED_WITHIN_S))


def test_more_memory_cures_what_failed_for_it_and_those_attempts_do_not_count(
    test_cluster: TestCluster, figure: Callable[[str, object], None]
) -> None:
    test_cluster.kubelet.order(Order("train", exit_code=137, reason="OOMKilled", times=1))
    little = {"limits": {"memory": "1Gi"}}
    operator = test_cluster.operator(pods=with_train_resources(test_cluster, little))
    test_cluster.soup(training={"maxAttempts": 1})
    test_cluster.shard("food")
    stalls(test_cluster, "food", "TrainingFailed")
    message = test_cluster.condition("food", "Ready")["message"]
    assert "its limit is 1Gi; help: raise pods.resources.train.limits.memory" in message

    enough = {"limits": {"memory": "2Gi"}}
    upgrade(test_cluster, operator, pods=with_train_resources(test_cluster, enough))

    figure("memory corrected to learnt, s", test_cluster.learnt("food", within_s=CURED_WITHIN_S))


def test_a_job_that_waits_in_a_queue_keeps_its_place(test_cluster: TestCluster) -> None:
    test_cluster.kubelet.order(Order("train", hold=True, shard="food"))
    operator = test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.until(lambda: test_cluster.jobs("train"), "its Job is there")
    job = job_of(test_cluster, "food")
    test_cluster.admin.merge(JOBS, test_cluster.studio, name_of(job), {"spec": {"suspend": True}})
    test_cluster.until(
        lambda: test_cluster.condition("food", "Ready")["reason"] == "Queued", "it is queued"
    )

    upgrade(test_cluster, operator, images=RIGHT_IMAGES)
    test_cluster.shard("travel")
    test_cluster.until(lambda: test_cluster.is_so("travel", "Ready"), "another one is learnt")

    assert uid_of(job_of(test_cluster, "food")) == uid_of(job)
    assert (test_cluster.get("food") or {})["status"]["state"] == "Queued"
