"""The CustomResourceDefinitions say the same as the models."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stockpot.api.crd import AnyKind, crd
from stockpot.api.reading import read_strict
from stockpot.api.v1alpha1 import KINDS, DataShard, Soup

MINIMAL: dict[AnyKind, dict[str, Any]] = {
    DataShard: {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "data/food/"}}},
    Soup: {"base": {"pvc": {"claimName": "bases"}}, "training": {"ema": {}}},
}


def schema_of(kind: AnyKind) -> dict[str, Any]:
    [version] = crd(kind)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name], f"{path}.{name}")


def filled_in(schema: dict[str, Any], value: Any) -> Any:
    """Fill in defaults as the API server does: field by field, then within what is there."""
    if isinstance(value, list):
        return [filled_in(schema["items"], item) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    full = dict(value)
    for name, field in schema["properties"].items():
        if name not in full and "default" in field:
            full[name] = json.loads(json.dumps(field["default"]))
        if name in full:
            full[name] = filled_in(field, full[name])
    return full


@pytest.mark.parametrize("kind", [DataShard, Soup])
def test_the_api_server_fills_in_what_the_model_fills_in(kind: AnyKind) -> None:
    wrapper = {"apiVersion": "stockpot.dev/v1alpha1", "kind": kind.__name__}
    written = wrapper | {"metadata": {"name": "a"}, "spec": MINIMAL[kind]}
    spec = filled_in(schema_of(kind)["properties"]["spec"], MINIMAL[kind])

    assert spec != MINIMAL[kind]
    assert read_strict(written | {"spec": spec}) == read_strict(written)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_status_is_filled_in(kind: AnyKind) -> None:
    status = schema_of(kind)["properties"].get("status", {})

    assert [path for path, node in nodes(status) if "default" in node] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_says_what_to_write(kind: AnyKind) -> None:
    rules = [
        r for _, node in nodes(schema_of(kind)) for r in node.get("x-kubernetes-validations", [])
    ]

    assert rules
    assert all(rule["message"] for rule in rules)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (DataShard, "soupRef"),
        (DataShard, "source"),
        (Soup, "base"),
        (Soup, "store"),
    ],
)
def test_what_cannot_be_changed_has_a_rule(kind: AnyKind, path: str) -> None:
    field = schema_of(kind)["properties"]["spec"]["properties"][path]

    assert "self == oldSelf" in [rule["rule"] for rule in field["x-kubernetes-validations"]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MINIMAL])
def test_what_stockpot_writes_can_never_be_changed(kind: AnyKind) -> None:
    [rule] = schema_of(kind)["properties"]["spec"]["x-kubernetes-validations"]

    assert rule["rule"] == "self == oldSelf"


def test_a_soup_can_be_scaled() -> None:
    [version] = crd(Soup)["spec"]["versions"]

    spec_path = version["subresources"]["scale"]["specReplicasPath"]
    assert spec_path == ".spec.serving.replicas"
    assert (
        "replicas" in schema_of(Soup)["properties"]["spec"]["properties"]["serving"]["properties"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_shows_a_field_that_there_is(kind: AnyKind) -> None:
    [version] = crd(kind)["spec"]["versions"]
    schema = schema_of(kind)

    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[")[0]
        node = schema
        for name in path.strip(".").split("."):
            if node is schema["properties"]["metadata"]:
                break  # Kubernetes' own.
            node = node["properties"][name]
