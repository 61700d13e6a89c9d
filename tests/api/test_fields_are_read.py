"""Every field of the kinds' models is read by a module of src, or is excepted with its reason.

Reads are found by attribute name, so a field whose name another class has too can be missed.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from stockpot.api.crd import FACES, crd
from stockpot.api.docstrings import field_docstrings
from stockpot.api.v1alpha1 import KINDS

SRC = Path(__file__).resolve().parents[2] / "src/stockpot"

KSTATUS = "kubectl wait, Flux and Argo CD compare it with metadata.generation"
NOT_READ_HERE = {
    ("Condition", "observed_generation"): KSTATUS,
    ("DataShardStatus", "observed_generation"): KSTATUS,
    ("SoupStatus", "observed_generation"): KSTATUS,
    ("UnlearningDebtStatus", "observed_generation"): KSTATUS,
    ("CurrentRevision", "promoted_at"): "people read it: no other field has the time",
    ("UnlearningReceiptSpec", "store_key"): "people and scripts fetch the signed envelope by it",
}
"""Fields that no module reads, each with the reason why it is there all the same."""


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """List the models in the type of a field, through optional types and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


@cache
def fields() -> frozenset[tuple[type[BaseModel], str]]:
    """List the fields of spec and status of every kind, with the model that declares each."""
    pending: list[type[BaseModel]] = []
    for kind in KINDS:
        for part in ("spec", "status"):
            if part in kind.model_fields:
                pending += models_in(kind.model_fields[part].annotation)
    declared: set[tuple[type[BaseModel], str]] = set()
    while pending:
        model = pending.pop()
        for name, info in model.model_fields.items():
            owner = next(base for base in reversed(model.__mro__) if declares(base, name))
            if (owner, name) not in declared:
                declared.add((owner, name))
                pending += models_in(info.annotation)
    return frozenset(declared)


def declares(owner: type, field: str) -> bool:
    return field in inspect.get_annotations(owner)


@cache
def readers() -> dict[str, frozenset[str]]:
    """Return the modules that read an attribute, by the attribute's name."""
    modules: dict[str, set[str]] = {}
    for path in SRC.rglob("*.py"):
        module = ".".join(path.relative_to(SRC.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                modules.setdefault(node.attr, set()).add(module)
    return {name: frozenset(names) for name, names in modules.items()}


@cache
def shown_by_kubectl() -> frozenset[str]:
    """List the serialized names of fields in printer columns and in the scale subresource."""
    paths = [column.json_path for face in FACES.values() for column in face.columns]
    for kind in KINDS:
        for version in crd(kind)["spec"]["versions"]:
            paths += version.get("subresources", {}).get("scale", {}).values()
    return frozenset(part.partition("[")[0] for path in paths for part in path.split("."))


def is_read(model: type[BaseModel], field: str) -> bool:
    modules = readers().get(field, frozenset()) - {model.__module__}
    return bool(modules) or model.model_fields[field].alias in shown_by_kubectl()


def is_deprecated(model: type[BaseModel], field: str) -> bool:
    return field_docstrings(model).get(field, "").startswith("Deprecated:")


@pytest.mark.parametrize(
    ("model", "field"),
    sorted(fields(), key=str),
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_field_is_read_or_excepted_or_deprecated(model: type[BaseModel], field: str) -> None:
    is_excepted = (model.__name__, field) in NOT_READ_HERE

    assert is_deprecated(model, field) or is_read(model, field) != is_excepted


def test_every_exception_names_a_field() -> None:
    assert NOT_READ_HERE.keys() <= {(model.__name__, field) for model, field in fields()}
