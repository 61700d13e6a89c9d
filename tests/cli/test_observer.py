"""`stockpot plan` and `stockpot tree` read the same state as the operator."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.cli.memory_api import STARTED_AT, MemoryApi
from tests.cluster.shapes import DIGEST, settings

from stockpot.api.v1alpha1 import Soup
from stockpot.authentication.key_file import new_grant_key
from stockpot.cli.cluster import now
from stockpot.cli.tree import tree_of
from stockpot.cluster.apiserver.objects import Json, name_of, uid_of, verb_of
from stockpot.cluster.apiserver.resources import (
    CONFIG_MAPS,
    DATA_SHARDS,
    EVENTS,
    NODES,
    PODS,
    SOUPS,
)
from stockpot.cluster.manifests.deployment import ADMIN_PORT, grant_keys_of
from stockpot.controller.operator import Operator
from stockpot.core.plan import check, plan
from stockpot.core.render import render
from stockpot.core.world import World
from stockpot.errors import StockpotError
from stockpot.kube.environment import StoreNotDeclared
from stockpot.kube.pod_client import PROGRESS_PORT, PodClient
from stockpot.kube.snapshot import Observer
from stockpot.kube.status_writer import read
from stockpot.reconcile.loop import observe, reconcile
from stockpot.reconcile.objects.fields import timestamp
from stockpot.reconcile.ports import Ports, SoupKey
from stockpot.reconcile.run_specs import serve_run

RELEASE = "stockpot-system"
RUN_IP, SERVER_IP = "10.0.0.7", "10.0.0.8"
READY = [{"type": "Ready", "status": "True"}]


class Scene:
    """A soup with one shard, observed by the operator and by a command of a user."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        # The operator has this file mounted; a user has not.
        key = folder / "grant-key.pem"
        key.write_bytes(new_grant_key())
        self._settings = settings(grantKey=str(key))
        self.api = MemoryApi()
        self.api.create(CONFIG_MAPS, self._settings_map())
        monkeypatch.setattr(PodClient, "fetch", self._fetch)
        self.operator = Operator(self.api, self._settings, "operator")
        key.unlink()
        self.warnings: list[str] = []

    @property
    def ports(self) -> Ports:
        return self.operator.ports_of(SoupKey("studio", "emoji"))

    def apply(self) -> None:
        soup = {"base": {"s3": {"prefix": "bases/emoji"}}, "membership": {"settleSeconds": 0}}
        self.api.create(SOUPS, an_object("Soup", "emoji", soup))
        shard = {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "data/food"}}}
        self.api.create(DATA_SHARDS, an_object("DataShard", "food", shard))

    def run_rounds(self, count: int = 4) -> None:
        for _ in range(count):
            reconcile(self.ports, fresh=True)

    def observed_by_operator(self) -> World:
        _, world = observe(self.ports, fresh=True)
        assert world
        return world

    def observer(self) -> Observer:
        return Observer(self.api, "studio", RELEASE, now, self.warnings.append)

    def observed_by_user(self) -> World:
        return self.observer().snapshot("emoji").world

    def add_pod(self, owner: Json, template: Json, name: str, **status: Any) -> Json:
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": name_of(owner),
            "uid": uid_of(owner),
            "controller": True,
        }
        metadata = {
            **template["metadata"],
            "name": name,
            "namespace": "studio",
            "ownerReferences": [reference],
        }
        spec = {**template["spec"], "nodeName": "node-1"}
        pod = {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
        return self.api.create(PODS, pod)

    def _fetch(self, url: str, timeout_s: float) -> bytes:
        """Answer the operator, which reaches pods directly."""
        del timeout_s
        address = urlsplit(url)
        if (answer := self.api.answers.get(f"{address.netloc}{address.path}")) is None:
            raise OSError("no answer")
        return json.dumps(answer).encode()

    def _settings_map(self) -> Json:
        text = yaml.safe_dump(self._settings.model_dump(mode="json", by_alias=True))
        metadata = {
            "name": "stockpot-settings",
            "namespace": RELEASE,
            "labels": {"app.kubernetes.io/name": "stockpot"},
        }
        return {"metadata": metadata, "data": {"settings.yaml": text}}


def an_object(kind: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "studio"},
        "spec": spec,
    }


def newly_applied(scene: Scene) -> None:
    scene.apply()


def training_that_no_node_takes(scene: Scene) -> None:
    training_job(scene)
    job = training_of(scene)
    pod = scene.add_pod(job, job["spec"]["template"], "train-1", phase="Pending")
    event = {
        "metadata": {"name": "event-1", "namespace": "studio"},
        "involvedObject": {"uid": uid_of(pod), "kind": "Pod", "name": name_of(pod)},
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "lastTimestamp": timestamp(now()),
    }
    scene.api.create(EVENTS, event)
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": event["message"],
        "lastTransitionTime": STARTED_AT,
    }
    scene.api.edit("pods", "train-1", {"status": {"conditions": [condition]}})


def training_with_progress(scene: Scene) -> None:
    training_job(scene)
    job = training_of(scene)
    template = job["spec"]["template"]
    status = {"phase": "Running", "podIP": RUN_IP, "conditions": READY}
    scene.add_pod(job, template, "train-1", **status)
    progress = {"phase": "training", "step": 40, "total_steps": 80, "figures": {"loss": 0.25}}
    scene.api.answers[f"{RUN_IP}:{PROGRESS_PORT}/progress"] = progress


def training_job(scene: Scene) -> None:
    scene.apply()
    scene.run_rounds()
    assert training_of(scene)


def training_of(scene: Scene) -> Json:
    [job] = [job for job in scene.api.of_kind("jobs") if verb_of(job) == "train"]
    return job


def server_that_answers(scene: Scene) -> None:
    training_job(scene)
    status = {"baseDigest": DIGEST}
    soup = scene.api.edit("soups", "emoji", {"status": status})
    ports = scene.ports
    ports.servers.scale(1, serve_run(read(Soup, soup), ports.environment))
    [deployment] = scene.api.of_kind("deployments")
    running = {"name": "serve", "ready": True, "state": {"running": {"startedAt": STARTED_AT}}}
    pod = scene.add_pod(
        deployment,
        deployment["spec"]["template"],
        "serve-1",
        phase="Running",
        podIP=SERVER_IP,
        conditions=READY,
        containerStatuses=[running],
    )
    state = {"boot": "boot-1", "ready": True}
    scene.api.answers[f"{SERVER_IP}:{ADMIN_PORT}/state"] = state
    granted = [{"name": "serve-1", "uid": uid_of(pod), "node": "node-1"}]
    scene.api.edit("soups", "emoji", {"status": {"serving": {"granted": granted}}})


def server_that_is_silent(scene: Scene) -> None:
    server_that_answers(scene)
    scene.api.answers.clear()


def deployment_that_was_edited(scene: Scene) -> None:
    server_that_answers(scene)
    [deployment] = scene.api.of_kind("deployments")
    strategy = {"strategy": {"type": "Recreate", "rollingUpdate": None}}
    scene.api.edit("deployments", name_of(deployment), {"spec": strategy})


def server_on_a_node_out_of_service(scene: Scene) -> None:
    server_that_is_silent(scene)
    not_ready = [{"type": "Ready", "status": "False"}]
    scene.api.edit("pods", "serve-1", {"status": {"conditions": not_ready}})
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    scene.api.create(NODES, {"metadata": {"name": "node-1"}, "spec": {"taints": [taint]}})


def deleted_shard(scene: Scene) -> None:
    server_that_answers(scene)
    deleted_at = timestamp(now() - timedelta(seconds=5))
    scene.api.edit("datashards", "food", {"metadata": {"deletionTimestamp": deleted_at}})


STATES = [
    newly_applied,
    training_job,
    training_that_no_node_takes,
    training_with_progress,
    server_that_answers,
    server_that_is_silent,
    deployment_that_was_edited,
    server_on_a_node_out_of_service,
    deleted_shard,
]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    return Scene(monkeypatch, tmp_path)


@pytest.mark.parametrize("arrange", STATES, ids=lambda arrange: arrange.__name__)
def test_a_user_observes_what_the_operator_observes(
    scene: Scene, arrange: Callable[[Scene], None]
) -> None:
    arrange(scene)
    by_operator = scene.observed_by_operator()
    writes = scene.api.writes

    by_user = scene.observed_by_user()

    assert by_user == by_operator
    assert planned(by_user) == planned(by_operator)
    assert scene.api.writes == writes
    assert scene.warnings == []


@pytest.mark.parametrize(
    ("arrange", "shows"),
    [
        (
            training_with_progress,
            lambda world: "step=40" in str(world.runs),
        ),
        (training_that_no_node_takes, lambda world: "nvidia.com/gpu" in str(world.runs)),
        (server_that_answers, lambda world: world.servers[0].instance_id == "boot-1"),
        (server_that_is_silent, lambda world: not world.servers[0].answers),
        (deployment_that_was_edited, lambda world: not world.is_as_declared),
        (server_on_a_node_out_of_service, lambda world: len(world.ended) == 1),
        (deleted_shard, lambda world: len(world.targets) == 1 and not world.shards),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_user_sees(
    scene: Scene, arrange: Callable[[Scene], None], shows: Callable[[World], bool]
) -> None:
    arrange(scene)

    assert shows(scene.observed_by_user())


def test_servers_that_accept_the_operators_key_are_as_declared_for_a_user_without_it(
    scene: Scene,
) -> None:
    server_that_answers(scene)
    [deployment] = scene.api.of_kind("deployments")

    assert len(grant_keys_of(deployment)) == 1
    assert scene.observed_by_user().is_as_declared


def test_a_store_that_is_not_declared_is_an_error_for_both(scene: Scene) -> None:
    server_that_answers(scene)
    scene.api.edit("soups", "emoji", {"spec": {"store": {"name": "elsewhere"}}})

    with pytest.raises(StoreNotDeclared) as for_operator:
        scene.observed_by_operator()
    with pytest.raises(StockpotError) as for_user:
        scene.observed_by_user()

    assert for_user.value.message == for_operator.value.message


def test_a_forbidden_release_namespace_is_named_and_the_rest_is_shown(scene: Scene) -> None:
    deployment_that_was_edited(scene)
    scene.api.forbidden.update(
        f"{root}/namespaces/{RELEASE}/" for root in ("/api/v1", "/apis/batch/v1")
    )

    world = scene.observed_by_user()

    assert world.servers[0].instance_id == "boot-1"
    assert world.is_as_declared
    text = "\n".join(scene.warnings)
    for resource in ("configmaps", "jobs.batch", "pods"):
        assert f"list {resource} in the namespace {RELEASE}" in text
    assert len(scene.warnings) == len(set(scene.warnings))


def test_a_soup_that_does_not_exist_is_refused(scene: Scene) -> None:
    scene.apply()

    with pytest.raises(StockpotError, match="no Soup other in the namespace studio"):
        scene.observer().names("other")


def test_the_tree_names_shards_and_servers(scene: Scene) -> None:
    server_that_is_silent(scene)

    tree = tree_of(scene.observer().snapshot("emoji"))

    labels = [str(branch.label) for branch in tree.children]
    assert labels == ["shards (1)", "revisions (0)", "servers (1 of 1)", "receipts (0)"]
    assert "does not answer" in str(tree.children[2].children[0].label)


def planned(world: World) -> str:
    at = now()
    assessment = check(world, at)
    return render(assessment, plan(assessment, at))
