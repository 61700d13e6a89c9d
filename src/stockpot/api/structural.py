"""Convert pydantic's JSON Schema to a structural schema of Kubernetes.

The API server accepts a subset of OpenAPI v3, in which every field has one type, written out. A
model that the subset cannot express is refused with the path of the field.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"

COPIED = (
    "type",
    "description",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "minimum",
    "maximum",
    "required",
    VALIDATIONS,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
DROPPED = frozenset({"title", "$defs"})
TURNED = frozenset(
    {
        "properties",
        "items",
        "additionalProperties",
        "const",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
)


class NotStructural(ValueError):
    """A structural schema cannot express a field."""


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Convert a model to a structural schema without references.

    Args:
        model: The model of a spec or a status.
        defaults: Whether the schema has defaults, which the API server fills in.

    Raises:
        NotStructural: The schema cannot express a field; the message has its path and what to do.
    """
    schema = model.model_json_schema(by_alias=True)
    turned = _turn(schema, schema.get("$defs", {}), path=model.__name__, above=())
    return turned if defaults else _without_defaults(turned)


def _turn(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str, above: tuple[str, ...]
) -> Schema:
    flat, above = _flat(node, defs, path, above)
    if strange := sorted(flat.keys() - {*COPIED, *DROPPED, *TURNED}):
        raise NotStructural(f"{path}: a structural schema has no {', '.join(strange)}")
    out: Schema = {key: flat[key] for key in COPIED if key in flat}
    if "const" in flat:
        out["enum"] = [flat["const"]]
    for bound, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in flat:
            out |= {inclusive: flat[bound], bound: True}
    if "items" in flat:
        out["items"] = _turn(flat["items"], defs, f"{path}[]", above)
    if isinstance(flat.get("additionalProperties"), Mapping):
        values = flat["additionalProperties"]
        out["additionalProperties"] = _turn(values, defs, f"{path}.*", above)
    if "properties" in flat:
        # `additionalProperties: false` goes: the API server prunes what it does not know.
        out["properties"] = {
            name: _turn(field, defs, f"{path}.{name}", above)
            for name, field in flat["properties"].items()
        }
    if "type" not in out:
        raise NotStructural(f"{path}: it has no one type; say which, or use an object of fields")
    return _tidy(out)


def _flat(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str, above: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """Follow references and drop `null` until one type is left; nearer keys win."""
    flat = dict(node)
    while True:
        if "$ref" in flat:
            name = flat.pop("$ref").removeprefix("#/$defs/")
            if name in above:
                raise NotStructural(f"{path}: {name} contains itself")
            above = (*above, name)
            further = dict(defs[name])
        elif "anyOf" in flat:
            kinds = [kind for kind in flat.pop("anyOf") if kind.get("type") != "null"]
            if len(kinds) != 1:
                raise NotStructural(f"{path}: it may be of two types; use an object of two fields")
            further = dict(kinds[0])
        else:
            break
        rules = [*further.get(VALIDATIONS, ()), *flat.get(VALIDATIONS, ())]
        flat = {**further, **flat}
        if rules:
            flat[VALIDATIONS] = rules
    if flat.get("default", ...) is None:
        # The API server drops a null, as if it were absent.
        del flat["default"]
    return flat, above


def _tidy(schema: Schema) -> Schema:
    """Put descriptions on one line, and drop defaults of an object that its fields have."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if schema["type"] == "integer":
        schema.setdefault("format", "int64")
    if isinstance(schema.get("default"), Mapping) and "properties" in schema:
        schema["default"] = _shorter(schema["default"], schema["properties"])
    return schema


def _shorter(default: Mapping[str, Any], fields: Mapping[str, Schema]) -> Schema:
    """Leave out of a default what the API server fills in by itself, level by level."""
    kept = {}
    for name, value in default.items():
        if value is None:
            continue
        own = fields[name].get("default", ...)  # An empty map without one stays absent.
        if isinstance(value, Mapping) and "properties" in fields[name]:
            value = _shorter(value, fields[name]["properties"])  # noqa: PLW2901
        if value != own and (value or own is not ...):
            kept[name] = value
    return kept


def _without_defaults(schema: Schema) -> Schema:
    out = {key: value for key, value in schema.items() if key != "default"}
    for part in ("items", "additionalProperties"):
        if part in out:
            out[part] = _without_defaults(out[part])
    if "properties" in out:
        fields = out["properties"].items()
        out["properties"] = {name: _without_defaults(field) for name, field in fields}
    return out
