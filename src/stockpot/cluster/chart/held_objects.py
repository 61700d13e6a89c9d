"""Finds the objects that still need an operator: those with our finalizer."""

from collections.abc import Sequence

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import NotFound
from stockpot.cluster.apiserver.objects import Json, name_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS, Resource

DELETE_ALL = "kubectl delete shard --all, then kubectl delete soup --all"
"""What lets all of them go: a Soup is not deleted while it has DataShards."""
SHOWN = 10
"""Number of objects that a message names; it counts the others."""


def held_objects(
    client: Client, namespace: str, kinds: Sequence[Resource] = (DATA_SHARDS, SOUPS)
) -> list[str]:
    """Return kind and name of each object of a namespace that has our finalizer."""
    return [
        f"{resource.kind} {namespace}/{name_of(thing)}"
        for resource in kinds
        for thing in _all(client, resource, namespace)
        if FINALIZER in thing["metadata"].get("finalizers", ())
    ]


def shown(names: Sequence[str]) -> str:
    """List names, each on its line, and count those beyond the first ten."""
    more = f"\n    and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "".join(f"\n    {name}" for name in names[:SHOWN]) + more


def _all(client: Client, resource: Resource, namespace: str) -> tuple[Json, ...]:
    try:
        return client.list(resource, namespace).items
    except NotFound:
        return ()  # The CustomResourceDefinition is gone, and every object with it.
