"""Whether the API server knows our kinds as this version does: an older CRD drops new fields."""

from collections.abc import Iterator
from typing import Any

from stockpot.api.crd import crd
from stockpot.api.v1alpha1 import GROUP, KINDS, VERSION
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS
from stockpot.errors import Refused

HELP = (
    "helm upgrade the release, which brings its CRDs; or kubectl apply --server-side "
    "--force-conflicts -f crds/"
)


def require_crds(client: Client) -> None:
    """See that every kind is there with every field of this version.

    Raises:
        Refused: One is missing, or is older than the operator.
        StockpotError: The API server did not answer, or says no.
    """
    for kind in KINDS:
        name = f"{kind.PLURAL}.{GROUP}"
        live = client.find(CUSTOM_RESOURCE_DEFINITIONS, None, name)
        if live is None:
            raise Refused(f"the CustomResourceDefinition {name} is not installed", help=HELP)
        lacking = sorted(_fields(_schema(crd(kind))) - set(_fields_of(live)))
        if lacking:
            raise Refused(
                f"the CustomResourceDefinition {name} is older than the operator: it lacks "
                f"{', '.join(lacking[:3])}",
                help=HELP,
            )


def _fields_of(live: Json) -> Iterator[str]:
    yield from _fields(_schema(live))


def _schema(definition: Json) -> Json:
    versions: list[Json] = definition["spec"]["versions"]
    found = next(
        (version for version in versions if version["name"] == VERSION and version["served"]), None
    )
    schema: Json = found["schema"]["openAPIV3Schema"] if found else {}
    return schema


def _fields(schema: Any, path: str = "") -> set[str]:
    """List every field below a schema, as `spec.source.s3`."""
    found: set[str] = set()
    if not isinstance(schema, dict):
        return found
    for name, below in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        found |= {here} | _fields(below, here)
    return found | _fields(schema.get("items"), path)
