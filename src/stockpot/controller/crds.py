"""Checks that the installed CRDs have every field of this version: older ones drop new fields."""

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
    """Check that the CRD of every kind is installed with every field of this version.

    Raises:
        Refused: A CRD is missing, or is older than the operator.
        StockpotError: The API server did not answer, or refused.
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
    served = next(
        (version for version in versions if version["name"] == VERSION and version["served"]), None
    )
    schema: Json = served["schema"]["openAPIV3Schema"] if served else {}
    return schema


def _fields(schema: Any, path: str = "") -> set[str]:
    """Return every field below a schema, as `spec.source.s3`."""
    fields: set[str] = set()
    if not isinstance(schema, dict):
        return fields
    for name, below in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        fields |= {here} | _fields(below, here)
    return fields | _fields(schema.get("items"), path)
