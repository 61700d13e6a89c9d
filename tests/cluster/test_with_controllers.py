"""What Kubernetes' own controllers and scheduler make of our Jobs: their words, not ours.

No kubelet runs here: a test says what one would say of a pod.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from devcluster.controlplane import ControlPlane
from tests.builders import a_result
from tests.cluster.shapes import LINEAGE, Json, a_training, message_of, servers, settings
from tests.controlplane.admin import ACCOUNTS, NODES, QUOTAS, Admin

from stockpot.api.conditions import Reason
from stockpot.api.results import Problem, ResultMessage
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import BaseRef, Location, ObjectRef, Place
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.resources import (
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    SOUPS,
    Resource,
)
from stockpot.cluster.manifests.deployment import deployment_of
from stockpot.cluster.manifests.job_status import run_of, runs_of
from stockpot.cluster.manifests.jobs import job_of
from stockpot.cluster.manifests.startup_blockers import startup_blocker_of
from stockpot.core.recipe import ShardUID
from stockpot.core.runs import Run, RunName, StartupBlocker

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CRDS = Path(__file__).resolve().parents[2] / "crds"

PREFIX = Location(place=Place.STORE, path="data/")
CAPACITY = {"cpu": "2", "memory": "4Gi", "pods": "30"}
WITHIN_S = 60.0

T = TypeVar("T")


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def stamp() -> str:
    return now().strftime("%Y-%m-%dT%H:%M:%SZ")


TRAINED = a_result(RunKind.TRAIN, records=3)


def a_condition(type_: str, reason: str = "") -> Json:
    return {"type": type_, "status": "True", "reason": reason, "lastTransitionTime": stamp()}


def beat(kubelet: Admin, name: str) -> None:
    """Say what a kubelet says of its node."""
    ready = {**a_condition("Ready", "KubeletReady"), "lastHeartbeatTime": stamp()}
    status = {"capacity": CAPACITY, "allocatable": CAPACITY, "conditions": [ready]}
    kubelet.status(NODES, None, name, status)


@pytest.fixture(scope="module")
def busy() -> Iterator[Admin]:
    """Who plays the kubelet of the one node of a cluster with controllers and a scheduler."""
    ending = threading.Event()
    with ControlPlane(crds=CRDS, scheduler=True) as cluster:
        kubelet = Admin(cluster)
        kubelet.create(NODES, None, {"metadata": {"name": "node-1"}, "spec": {}})
        beat(kubelet, "node-1")

        def live() -> None:
            while not ending.wait(5.0):
                beat(kubelet, "node-1")

        heart = threading.Thread(target=live)
        heart.start()
        try:
            yield kubelet
        finally:
            ending.set()
            heart.join()


class Studio:
    """A namespace with a soup."""

    def __init__(self, kubelet: Admin, namespace: str) -> None:
        client = connect(kubeconfig=kubelet.cluster.kubeconfig)
        self.client, self.kubelet, self.namespace = client, kubelet, namespace
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.create(NAMESPACES, {"metadata": {"name": namespace, "labels": labels}})
        spec = {"base": {"s3": {"prefix": "bases/emoji/"}}}
        about = {"name": "emoji", "namespace": namespace}
        desired = {"apiVersion": SOUPS.api_version, "kind": "Soup", "metadata": about, "spec": spec}
        uid = client.create(SOUPS, desired)["metadata"]["uid"]
        self.soup = ObjectRef(namespace=namespace, name="emoji", uid=uid)

    def make_account(self) -> None:
        about = {"name": "stockpot-workload", "namespace": self.namespace}
        self.client.create(ACCOUNTS, {"metadata": about})

    def make_quota(self, pods: int) -> None:
        about = {"name": "small", "namespace": self.namespace}
        self.client.create(QUOTAS, {"metadata": about, "spec": {"hard": {"pods": str(pods)}}})
        until(lambda: self.client.get(QUOTAS, self.namespace, "small").get("status"))

    def post(self, source: Location = PREFIX, **pods: Any) -> Json:
        spec = a_training().model_copy(
            update={"soup": self.soup, "source": source, "base": BaseRef(location=PREFIX)}
        )
        job = job_of(RunName(spec.name), LINEAGE, spec, settings(pods=pods))
        return self.client.create(JOBS, job)

    def job(self) -> Json:
        (job,) = self.client.list(JOBS, self.namespace).items
        return job

    def pods(self) -> list[Json]:
        return list(self.client.list(PODS, self.namespace).items)

    def run(self) -> Run:
        return run_of(self.job(), self.pods())

    def ended(self) -> Run:
        """The run, once it has ended."""
        return until(lambda: None if (run := self.run()).is_active else run)

    def blocker(self, workload: Json | None = None) -> StartupBlocker | None:
        events = self.client.list(EVENTS, self.namespace).items
        return startup_blocker_of(workload or self.job(), self.pods(), events, now())

    def placed(self) -> Json:
        """The pod, once it has a node."""

        def owned_pod() -> Json | None:
            return next((pod for pod in self.pods() if pod["spec"].get("nodeName")), None)

        return until(owned_pod)

    def tell(self, pod: Json, phase: str, state: Json, **more: Any) -> None:
        """Say what a kubelet would."""
        container = {
            "name": "train",
            "image": "example.org/trainer:1",
            "imageID": "",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "containerStatuses": [container], **more}
        self.kubelet.status(PODS, self.namespace, pod["metadata"]["name"], status)

    def end(self, pod: Json, code: int, message: str = "", **more: Any) -> None:
        ended = {
            "exitCode": code,
            "message": message,
            "finishedAt": stamp(),
            "containerID": "c://1",
        }
        phase = "Succeeded" if code == 0 else "Failed"
        self.tell(pod, phase, {"terminated": ended}, **more)


@pytest.fixture
def studio(busy: Admin, request: pytest.FixtureRequest) -> Studio:
    name = request.node.name.replace("_", "-").removeprefix("test-")[:50].strip("-")
    return Studio(busy, name)


def until(look: Callable[[], T | None]) -> T:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if result := look():
            return result
        time.sleep(0.1)
    raise AssertionError("it was waited for in vain")


RUNNING = {"running": {"startedAt": "2026-11-22T12:00:00Z"}}
ALIVE = [a_condition("Ready"), a_condition("ContainersReady"), a_condition("PodScheduled")]


# --------------------------------------------------------------------------------- endings


def test_a_done_job_has_its_result(studio: Studio) -> None:
    studio.make_account()
    studio.post()
    pod = studio.placed()
    assert studio.run().is_active

    studio.end(pod, 0, message_of(TRAINED.message()))

    assert studio.ended().result == TRAINED


@pytest.mark.parametrize(("code", "final"), [(42, True), (7, False)])
def test_a_failed_job_has_its_failure(busy: Admin, code: int, final: bool) -> None:
    studio = Studio(busy, f"failed-{code}")
    studio.make_account()
    studio.post()
    problem = Problem(exit_code=code, message="no pictures", help="put some there")

    studio.end(studio.placed(), code, message_of(ResultMessage(problem=problem)))

    failure = studio.ended().failure
    assert failure
    assert (failure.exit_code, failure.message, failure.help) == (
        code,
        "no pictures",
        "put some there",
    )
    assert failure.is_final is final


def test_a_disrupted_pod_is_followed_by_another_in_the_same_run(studio: Studio) -> None:
    studio.make_account()
    studio.post()
    first = studio.placed()

    studio.end(first, 143, conditions=[a_condition("DisruptionTarget", "TerminationByKubelet")])

    second = until(
        lambda: next((p for p in studio.pods() if p["status"]["phase"] == "Pending"), None)
    )
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert studio.run().is_active
    studio.placed()
    studio.end(second, 0, message_of(TRAINED.message()))
    assert studio.ended().result == TRAINED


def test_a_pod_that_somebody_deletes_is_an_attempt_and_no_fault(studio: Studio) -> None:
    studio.make_account()
    studio.post()
    pod = studio.placed()
    studio.tell(pod, "Running", RUNNING, conditions=ALIVE)

    studio.client.delete(PODS, studio.namespace, pod["metadata"]["name"])
    assert studio.run().is_active
    studio.end(pod, 137)

    failure = studio.ended().failure
    assert failure
    assert not failure.is_final


def test_a_job_that_somebody_deletes_runs_until_its_pod_has_ended(studio: Studio) -> None:
    studio.make_account()
    job = studio.post()
    pod = studio.placed()
    studio.tell(pod, "Running", RUNNING, conditions=ALIVE)

    studio.client.delete(JOBS, studio.namespace, job["metadata"]["name"])
    until(lambda: not studio.client.list(JOBS, studio.namespace).items)

    (run,) = runs_of([], studio.pods())
    about = frozenset({ShardUID(a_training().shard.uid)})
    assert run == Run(RunName(a_training().name), RunKind.TRAIN, LINEAGE, about=about)
    studio.end(pod, 137)
    assert runs_of([], studio.pods()) == ()


def test_a_soup_that_goes_takes_its_jobs_with_it(studio: Studio) -> None:
    studio.post()

    studio.client.delete(SOUPS, studio.namespace, "emoji")

    assert until(lambda: not studio.client.list(JOBS, studio.namespace).items)


# ------------------------------------------------------------------------------ hindrances


def test_a_service_account_that_is_not_there(studio: Studio) -> None:
    studio.post()

    blocker = until(studio.blocker)

    assert blocker.reason == Reason.FORBIDDEN
    assert blocker.message == (
        f"the ServiceAccount stockpot-workload is not in the namespace {studio.namespace}"
    )


def test_a_quota_that_is_used_up(studio: Studio) -> None:
    studio.make_account()
    studio.make_quota(pods=0)
    studio.post()
    desired = deployment_of(studio.soup, servers(), 1, settings())
    studio.client.apply(DEPLOYMENTS, desired)

    of_run = until(studio.blocker)
    of_servers = until(
        lambda: studio.blocker(
            studio.client.get(DEPLOYMENTS, studio.namespace, desired["metadata"]["name"])
        )
    )

    for blocker in (of_run, of_servers):
        assert blocker.reason == Reason.QUOTA_EXCEEDED
        assert "exceeded quota: small, requested: pods=1, limited: pods=0" in blocker.message


def test_a_volume_that_the_level_forbids(studio: Studio) -> None:
    studio.make_account()
    studio.post(volumes=({"name": "code", "hostPath": {"path": "/x"}},))

    blocker = until(studio.blocker)

    assert blocker.reason == Reason.FORBIDDEN
    assert 'violates PodSecurity "restricted:latest": restricted volume types' in blocker.message
    assert "pods.volumes" in blocker.help


def test_a_resource_that_no_node_has(studio: Studio) -> None:
    studio.make_account()
    gpu = {"nvidia.com/gpu": "1"}
    studio.post(resources={"train": {"requests": {"cpu": "64", **gpu}, "limits": gpu}})

    blocker = until(studio.blocker)

    assert blocker.reason == Reason.UNSCHEDULABLE
    assert blocker.message == (
        "no node has room for the pod, which needs 64 cpu and 1 nvidia.com/gpu"
    )


def test_labels_that_no_node_has(studio: Studio) -> None:
    studio.make_account()
    studio.post(node_selector={"gpu": "yes"})

    blocker = until(studio.blocker)

    assert blocker.message == "no node has the labels that the pod asks for (gpu=yes)"


def test_a_claim_that_is_not_there_and_then_has_no_volume(studio: Studio) -> None:
    studio.make_account()
    studio.post(source=Location(place=Place.FOLDER, path="/claims/data/food"))

    missing = until(studio.blocker)
    access = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    about = {"name": "data", "namespace": studio.namespace}
    studio.client.create(CLAIMS, {"metadata": about, "spec": access})
    unbound = until(lambda: result if (result := studio.blocker()) != missing else None)

    assert (missing.reason, unbound.reason) == (Reason.CLAIM_UNBOUND, Reason.CLAIM_UNBOUND)
    assert missing.message == f"the claim data is not in the namespace {studio.namespace}"
    assert unbound.message == "a claim that the pod needs has no volume yet (data)"


def test_a_node_that_falls_silent(studio: Studio) -> None:
    client = studio.client
    taint = {"key": "quiet", "effect": "NoSchedule"}
    labels = {"quiet": "yes"}
    node = {"metadata": {"name": "node-2", "labels": labels}, "spec": {"taints": [taint]}}
    client.create(NODES, node)
    beat(studio.kubelet, "node-2")
    studio.make_account()
    studio.post(node_selector=labels, tolerations=({"key": "quiet", "operator": "Exists"},))
    studio.tell(studio.placed(), "Running", RUNNING, conditions=ALIVE)
    assert studio.blocker() is None

    blocker = until(studio.blocker)

    assert blocker.reason == Reason.NODE_LOST
    assert blocker.message.startswith("the node node-2 does not answer")
    assert studio.run().is_active
    client.delete(NODES, None, "node-2")
