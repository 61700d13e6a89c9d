"""Before what cannot be undone, one soup is read past the cache, whatever else there is."""

from collections.abc import Iterator

import pytest
import structlog
from devcluster.controlplane import ControlPlane
from tests.controlplane.admin import Admin, Refusal
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.errors import TooMany
from stockpot.cluster.apiserver.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DATA_SHARDS,
    SOUPS,
)
from stockpot.kube.cache import Cache
from stockpot.kube.soup_listing import refresh_soup


@pytest.fixture
def client(cluster: ControlPlane) -> Iterator[Client]:
    client = connect(kubeconfig=cluster.kubeconfig)
    yield client
    client.close()


def names(cache: Cache, test_cluster: TestCluster) -> list[str]:
    return [thing["metadata"]["name"] for thing in cache.list(DATA_SHARDS, test_cluster.studio)]


def test_only_the_objects_of_the_soup_are_read(test_cluster: TestCluster, client: Client) -> None:
    test_cluster.soup("emoji")
    test_cluster.soup("cats")
    test_cluster.shard("food", "emoji")
    test_cluster.shard("paws", "cats")
    cache = Cache()

    refresh_soup(client, cache, test_cluster.studio, "emoji")

    assert names(cache, test_cluster) == ["food"]
    assert cache.find(SOUPS, test_cluster.studio, "emoji")
    assert cache.find(SOUPS, test_cluster.studio, "cats") is None


@pytest.fixture
def unselectable(admin: Admin, test_cluster: TestCluster) -> Iterator[None]:
    """CRDs of shards as a release before had them: nothing selects by their soup."""
    name = f"{DATA_SHARDS.plural}.{DATA_SHARDS.group}"
    path = CUSTOM_RESOURCE_DEFINITIONS.path(None, name)
    at = "/spec/versions/0/selectableFields"
    fields = admin.ask("GET", path)["spec"]["versions"][0]["selectableFields"]
    patch = "application/json-patch+json"
    admin.ask("PATCH", path, [{"op": "remove", "path": at}], patch)
    yield
    admin.ask("PATCH", path, [{"op": "add", "path": at, "value": fields}], patch)
    test_cluster.until(lambda: is_served(admin), "the CRD is served anew")


def is_served(admin: Admin) -> bool:
    """Whether shards can be listed; not while the server takes a changed CRD in."""
    try:
        admin.ask("GET", f"{DATA_SHARDS.path()}?fieldSelector=spec.soupRef.name%3Dnone")
    except Refusal:
        return False
    return True


def test_a_server_that_does_not_select_is_listed_whole_and_that_is_logged_once(
    test_cluster: TestCluster, client: Client, unselectable: None
) -> None:
    test_cluster.soup("emoji")
    test_cluster.shard("food", "emoji")
    test_cluster.shard("paws", "cats")
    cache = Cache()

    with structlog.testing.capture_logs() as logs:
        test_cluster.until(lambda: refused(client, cache, test_cluster), "the CRD is served anew")
        refresh_soup(client, cache, test_cluster.studio, "emoji")

    assert names(cache, test_cluster) == ["food", "paws"]
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "does not select objects by their soup" in logs[0]["event"]


def refused(client: Client, cache: Cache, test_cluster: TestCluster) -> bool:
    try:
        refresh_soup(client, cache, test_cluster.studio, "emoji")
    except TooMany:
        return False  # The server takes the changed CRD in.
    return client.unselectable == {DATA_SHARDS}
