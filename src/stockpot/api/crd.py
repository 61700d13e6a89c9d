"""The five CustomResourceDefinitions, made from the models of `v1alpha1`.

The schema, or a CEL rule with a message that says what to write, refuses an invalid object. Checks
that need other objects are not made here: their outcome becomes a condition.
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
    AnyObject,
    DataShard,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)

HEADER = "# Generated from src/stockpot/api/v1alpha1/. To change it: edit there, `make generate`.\n"

AnyKind = type[AnyObject]


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    """Whether only `-o wide` shows it."""


@dataclass(frozen=True)
class Face:
    """The names and columns of a kind in kubectl."""

    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    by_users: bool
    """Whether users write objects of the kind: names of Jobs and revisions are made from theirs."""
    scale: bool = False


def _condition_path(condition: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{part}'


STATE = Column("State", ".status.state")
READY = Column("Ready", _condition_path("Ready", "status"))
REASON = Column("Reason", _condition_path("Ready", "reason"))
MESSAGE = Column("Message", _condition_path("Ready", "message"), wide=True)
AGE = Column("Age", ".metadata.creationTimestamp", "date")

# One line shows whether an object is well, and why not.
FACES: dict[AnyKind, Face] = {
    DataShard: Face(
        ("shard", "shards"),
        (
            Column("Soup", ".spec.soupRef.name"),
            STATE,
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
            STATE,
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
    UnlearningDebt: Face(
        ("debt", "debts"),
        (
            Column("Namespace", ".spec.soup.namespace"),
            Column("Soup", ".spec.soup.name"),
            Column("Because", ".spec.reason"),
            Column("Store", ".spec.store"),
            Column("Owed", ".status.owed", "integer"),
            READY,
            REASON,
            MESSAGE,
            AGE,
        ),
        by_users=False,
    ),
}

SELECTABLE_FIELDS = {
    DataShard.__name__: "spec.soupRef.name",
    SoupRevision.__name__: "spec.soupRef.uid",
    UnlearningReceipt.__name__: "spec.soupRef.uid",
}
"""By kind, the field that field selectors find the objects of one soup by."""


def crd(kind: AnyKind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, as a JSON value."""
    face = FACES[kind]
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in face.columns],
        "schema": {"openAPIV3Schema": _schema(kind, face)},
    }
    if field := SELECTABLE_FIELDS.get(kind.__name__):
        version["selectableFields"] = [{"jsonPath": f".{field}"}]
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
    """Return the text of every file in `crds/`, by name."""
    return {
        f"{kind.PLURAL}.yaml": HEADER
        + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=100)
        for kind in KINDS
    }


class _Plain(yaml.SafeDumper):
    """Writes repeated values out, without anchors, which are hard to read in a CRD."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _column(column: Column) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
    }
    return definition | {"priority": 1} if column.wide else definition


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
        # A status is an observation: the API server fills in no defaults.
        schema = structural_schema(model, defaults=part == "spec")
        # The field's own rules, such as an immutable spec, join the model's.
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
