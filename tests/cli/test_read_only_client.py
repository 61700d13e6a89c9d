"""What commands observe with: a client that wraps another, and lets only reads through."""

from collections.abc import Callable

import pytest
from tests.cli.memory_api import MemoryApi

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Forbidden
from stockpot.cluster.apiserver.resources import CONFIG_MAPS, PODS
from stockpot.kube.snapshot import ReadOnlyClient

MAP = {"metadata": {"name": "settings", "namespace": "studio"}}
POD = {"metadata": {"name": "run", "namespace": "studio"}, "status": {"podIP": "10.0.0.7"}}

READS: dict[str, Callable[[Client], object]] = {
    "get": lambda client: client.get(CONFIG_MAPS, "studio", "settings"),
    "find": lambda client: client.find(CONFIG_MAPS, "studio", "settings"),
    "list": lambda client: client.list(CONFIG_MAPS, "studio").items,
    "list_packed": lambda client: client.list_packed(CONFIG_MAPS, "studio", str).items,
    "get_from_pod": lambda client: client.get_from_pod("studio", "run", 8081, "state"),
}
WRITES: dict[str, Callable[[Client], object]] = {
    "create": lambda client: client.create(CONFIG_MAPS, MAP),
    "replace": lambda client: client.replace(CONFIG_MAPS, MAP),
    "replace_status": lambda client: client.replace_status(CONFIG_MAPS, MAP),
    "merge_patch": lambda client: client.merge_patch(CONFIG_MAPS, "studio", "settings", {}),
    "apply": lambda client: client.apply(CONFIG_MAPS, MAP),
    "delete": lambda client: client.delete(CONFIG_MAPS, "studio", "settings"),
}
CONNECTION = {"close", "with_timeout"}
"""The methods that need the connections of the wrapped client."""


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.create(CONFIG_MAPS, MAP)
    api.create(PODS, POD)
    api.answers["10.0.0.7:8081/state"] = {"ready": True}
    api.writes = 0
    return api


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture(params=["as it is", "with another timeout"])
def client(request: pytest.FixtureRequest, api: MemoryApi, warnings: list[str]) -> ReadOnlyClient:
    client = ReadOnlyClient(api, frozenset({"studio"}), warnings.append)
    return client if request.param == "as it is" else client.with_timeout(5)


def test_every_method_of_a_client_is_a_read_or_a_write() -> None:
    public = {name for name in vars(Client) if not name.startswith("_")}

    assert public == {*READS, *WRITES, *CONNECTION}


@pytest.mark.parametrize("name", READS)
def test_a_read_has_the_answer_of_the_wrapped_client(
    name: str, client: ReadOnlyClient, api: MemoryApi
) -> None:
    assert READS[name](client) == READS[name](api)


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_an_error_and_is_not_sent(
    name: str, client: ReadOnlyClient, api: MemoryApi
) -> None:
    with pytest.raises(AssertionError, match="an observer does not"):
        WRITES[name](client)

    assert api.writes == 0


def test_a_forbidden_listing_is_empty_and_named_once_where_it_is_optional(
    client: ReadOnlyClient, api: MemoryApi, warnings: list[str]
) -> None:
    api.forbidden.add("/api/v1/namespaces/")

    listings = [
        listing
        for each in (client, client.with_timeout(1))
        for listing in (
            each.list(CONFIG_MAPS, "studio"),
            each.list_packed(CONFIG_MAPS, "studio", str),
        )
    ]

    assert {listing.items for listing in listings} == {()}
    assert len(warnings) == 1
    with pytest.raises(Forbidden):
        client.list(CONFIG_MAPS, "elsewhere")


def test_it_closes_the_connections_of_the_wrapped_client(
    client: ReadOnlyClient, api: MemoryApi
) -> None:
    client.close()

    assert api.is_closed
