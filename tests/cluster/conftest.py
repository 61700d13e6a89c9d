"""One API server for all tests here: each makes a namespace of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.controlplane import ControlPlane

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.resources import NAMESPACES

CRDS = Path(__file__).resolve().parents[2] / "crds"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    # No controllers: nothing moves but what a test moves.
    with ControlPlane(crds=CRDS, controllers=False) as started:
        yield started


@pytest.fixture
def client(cluster: ControlPlane) -> Iterator[Client]:
    started = connect(kubeconfig=cluster.kubeconfig)
    yield started
    started.close()


@pytest.fixture
def namespace(client: Client) -> str:
    """Enforces the level that the chart asks for."""
    name = f"studio-{next(_NUMBERS)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    client.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    return name
