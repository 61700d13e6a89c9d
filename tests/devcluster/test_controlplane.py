"""The API server that other tests stand on, tried for itself."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster import build
from devcluster.controlplane import ControlPlane
from devcluster.problem import Problem

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """One for all tests here: they leave it as they find it."""
    with ControlPlane(crds=CRDS) as one:
        yield one


def test_it_serves_our_kinds_from_the_start(cluster: ControlPlane) -> None:
    found = cluster.api.get("/apis/stockpot.dev/v1alpha1")

    assert found is not None
    assert {"datashards", "soups", "souprevisions"} <= {one["name"] for one in found["resources"]}


def test_its_kubeconfig_is_all_that_a_client_needs(cluster: ControlPlane) -> None:
    kubectl = build.built(build.control_plane()) / "kubectl"

    said = subprocess.run(
        [kubectl, "--kubeconfig", cluster.kubeconfig, "auth", "whoami", "-o", "name"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr


def test_what_was_stored_outlives_the_api_server(cluster: ControlPlane) -> None:
    body = b'{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}}'
    assert cluster.api.request("POST", "/api/v1/namespaces", body, "application/json")[0] == 201

    cluster.restart_apiserver()

    assert cluster.api.get("/api/v1/namespaces/kept") is not None


def test_a_program_that_ended_is_named_with_its_last_words(cluster: ControlPlane) -> None:
    cluster.apiserver.kill()

    with pytest.raises(Problem, match="kube-apiserver ended with -9"):
        cluster.apiserver.alive()

    cluster.start_apiserver()


@pytest.mark.apiserver
def test_nothing_of_it_is_left() -> None:
    cluster = ControlPlane(controllers=False).start()
    folder = cluster.kubeconfig.parent
    processes = [cluster.etcd.process, cluster.apiserver.process]

    cluster.stop()

    assert not folder.exists()
    assert all(process is not None and process.poll() is not None for process in processes)
