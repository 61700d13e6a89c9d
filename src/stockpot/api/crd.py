"""The four CustomResourceDefinitions, made from the models of `v1alpha1`.

What one object can break by itself is refused by the schema or by a CEL rule whose message says
what to write. What needs other objects is not looked at here: it becomes a condition.
"""

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from stockpot.api.model import cel
from stockpot.api.structural import VALIDATIONS, Schema, structural_schema
from stockpot.api.v1alpha1 import (
    GROUP,
    KINDS,
    MAX_NAME,
    VERSION,
    DataShard,
    Soup,
    SoupRevision,
    UnlearningReceipt,
)

HEADER = "# Generated from src/stockpot/api/v1alpha1/. To change it: edit there, `make generate`.\n"

AnyKind = type[DataShard] | type[Soup] | type[SoupRevision] | type[UnlearningReceipt]


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    """Only with `-o wide`."""


@dataclass(frozen=True)
class Face:
    """How a kind looks to kubectl."""

    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    by_users: bool
    """Whether users write it, so that names must leave room for what is made from them."""
    scale: bool = False


def _said(condition: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{part}'


READY = Column("Ready", _said("Ready", "status"))
REASON = Column("Reason", _said("Ready", "reason"))
MESSAGE = Column("Message", _said("Ready", "message"), wide=True)
AGE = Column("Age", ".metadata.creationTimestamp", "date")

# Is it well, and if not, why: in one line.
FACES: dict[AnyKind, Face] = {
    DataShard: Face(
        ("shard", "shards"),
        (
            Column("Soup", ".spec.soupRef.name"),
            READY,
            REASON,
            Column("Progress", ".status.training.progressPercent", "integer"),
            Column("Records", ".status.records", "integer"),
            Column("Weight", ".spec.weight", wide=True),
            MESSAGE,
            AGE,
        ),
        by_users=True,
    ),
    Soup: Face(
        ("soup",),
        (
            READY,
            REASON,
            Column("Shards", ".status.shards.total", "integer"),
            Column("Included", ".status.shards.included", "integer"),
            Column("Deleting", ".status.shards.deleting", "integer"),
            Column("Revision", ".status.currentRevision.number", "integer"),
            Column("Servers", ".status.serving.readyReplicas", "integer"),
            Column("Receipts", ".status.receipts.count", "integer", wide=True),
            MESSAGE,
            AGE,
        ),
        by_users=True,
        scale=True,
    ),
    SoupRevision: Face(
        ("souprev", "souprevs"),
        (
            Column("Soup", ".spec.soupRef.name"),
            Column("Metric", ".status.evaluation[0].metric"),
            Column("Value", ".status.evaluation[0].value"),
            Column("Weights", ".spec.weightsDigest", wide=True),
            AGE,
        ),
        by_users=False,
    ),
    UnlearningReceipt: Face(
        ("receipt", "receipts"),
        (
            Column("Soup", ".spec.soupRef.name"),
            Column("Shard", ".spec.shard.name"),
            Column("Number", ".spec.sequence", "integer"),
            Column("Completeness", ".spec.completeness"),
            Column("Signed", ".spec.signedAt", "date"),
            Column("Digest", ".spec.digest", wide=True),
            AGE,
        ),
        by_users=False,
    ),
}


def crd(kind: AnyKind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as a value of JSON."""
    face = FACES[kind]
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in face.columns],
        "schema": {"openAPIV3Schema": _schema(kind, face)},
    }
    subresources: dict[str, Any] = {}
    if "status" in kind.model_fields:
        subresources["status"] = {}
    if face.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.serving.replicas",
            "statusReplicasPath": ".status.serving.replicas",
            "labelSelectorPath": ".status.serving.selector",
        }
    if subresources:
        version["subresources"] = subresources
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": kind.PLURAL,
                "singular": kind.__name__.lower(),
                "shortNames": list(face.short_names),
                "categories": ["stockpot"],
            },
            "versions": [version],
        },
    }


def crd_files() -> dict[str, str]:
    """The text of every file in `crds/`, by name."""
    return {
        f"{kind.PLURAL}.yaml": HEADER
        + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=100)
        for kind in KINDS
    }


class _Plain(yaml.SafeDumper):
    """Writes everything out: an anchor in a CRD is a riddle to its reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _column(column: Column) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
    }
    return said | {"priority": 1} if column.wide else said


def _schema(kind: AnyKind, face: Face) -> Schema:
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    for part in ("spec", "status"):
        if (field := kind.model_fields.get(part)) is None:
            continue
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        # A status is what was seen: nothing in it is filled in by the API server.
        schema = structural_schema(model, defaults=part == "spec")
        # Rules that stand at the field, as that a spec is immutable, beside the model's own.
        extra = field.json_schema_extra
        if isinstance(extra, dict):
            schema |= extra
        properties[part] = schema
    schema = {
        "type": "object",
        "description": kind.__doc__,
        "required": ["spec"],
        "properties": properties,
    }
    if face.by_users:
        schema |= cel(
            f"size(self.metadata.name) <= {MAX_NAME} && !self.metadata.name.contains('.')",
            f"metadata.name may have at most {MAX_NAME} letters, digits and -, and no dot: "
            "names of Jobs and revisions are made from it",
        )
    assert VALIDATIONS in schema or not face.by_users
    return schema
