"""Generates files of the Helm chart: values, their schema and reference, CRDs, roles.

Pure: returns texts. The other templates are written by hand.
"""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from stockpot.api.crd import crd
from stockpot.api.docstrings import field_docstrings
from stockpot.api.v1alpha1 import GROUP, KINDS
from stockpot.cluster.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS
from stockpot.cluster.chart.permissions import (
    IN_CLUSTER,
    IN_RELEASE_NAMESPACE,
    IN_WORKLOAD_NAMESPACE,
    RbacRule,
)
from stockpot.cluster.chart.values import Values

ORIGIN = "Generated from src/stockpot/cluster/chart/values.py. To change it: edit, `make generate`."


def chart_files() -> dict[str, str]:
    """Return the text of every generated file of the chart, by its path in the repository."""
    files = {
        "values.yaml": f"# {ORIGIN}\n" + "\n".join(_values(Values(), 0)) + "\n",
        "values.schema.json": json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n",
        "VALUES.md": values_page(),
    }
    files["templates/_rbac.tpl"] = roles_template()
    files |= {f"templates/crds/{kind.PLURAL}.yaml": _crd_template(crd(kind)) for kind in KINDS}
    return {f"charts/stockpot/{name}": text for name, text in files.items()}


def values_schema() -> dict[str, Any]:
    """Return the JSON Schema with which Helm validates an admin's values."""
    schema = _untitled(Values.model_json_schema(by_alias=True))
    assert isinstance(schema, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def values_page() -> str:
    """Return the reference page: a table of every value with its default."""
    lines = [
        f"<!-- {ORIGIN} -->",
        "",
        "# Values",
        "",
        "| value | default | is |",
        "|---|---|---|",
        *(
            f"| `{path}` | {default} | {text} |"
            for path, default, text in _rows(Values(), Values, "")
        ),
    ]
    return "\n".join(lines) + "\n"


def roles_template() -> str:
    """Return the template with the operator's rules, which the Roles include."""
    origin = (
        "Generated from src/stockpot/cluster/chart/permissions.py. To change it: edit there, "
        "`make generate`."
    )
    text = f"{{{{- /* {origin} */ -}}}}\n"
    for name, rules in (
        ("workload", IN_WORKLOAD_NAMESPACE),
        ("release", IN_RELEASE_NAMESPACE),
        ("cluster", IN_CLUSTER),
    ):
        body = yaml.safe_dump([role_rule(rule, OWN_NAME) for rule in rules], sort_keys=False)
        text += f'\n{{{{- define "stockpot.rules.{name}" -}}}}\n{body}{{{{- end -}}}}\n'
    return text


OWN_NAME = '{{ include "stockpot.name" $ }}-operator'


def role_rule(rule: RbacRule, operator: str) -> dict[str, list[str]]:
    """Return a rule as it stands in a Role.

    Args:
        rule: The permission.
        operator: The name of the operator's own objects.
    """
    role = {"apiGroups": [rule.group], "resources": [rule.resource]}
    if rule.resource == CUSTOM_RESOURCE_DEFINITIONS.plural:
        role["resourceNames"] = [f"{kind.PLURAL}.{GROUP}" for kind in KINDS]
    if rule.is_own:
        role["resourceNames"] = [operator]
    return role | {"verbs": list(rule.verbs)}


def _values(model: BaseModel, depth: int) -> Iterator[str]:
    """Yield a model as lines of commented YAML, with empty lines between top-level values."""
    indent = "  " * depth
    for name, value in _fields(model):
        if not depth:
            yield ""
        yield from (f"{indent}# {line}".rstrip() for line in _description(type(model), name))
        for example in type(model).model_fields[name].examples or ():
            shown = yaml.safe_dump({_alias(type(model), name): example}, sort_keys=False)
            yield from (f"{indent}#     {line}" for line in shown.splitlines())
        if isinstance(value, BaseModel):
            yield f"{indent}{_alias(type(model), name)}:"
            yield from _values(value, depth + 1)
        else:
            entry = yaml.safe_dump({_alias(type(model), name): _plain(value)}, sort_keys=False)
            yield from (f"{indent}{line}" for line in entry.splitlines())


def _rows(
    model: BaseModel | None, kind: type[BaseModel], prefix: str
) -> Iterator[tuple[str, str, str]]:
    for name, field in kind.model_fields.items():
        if name.endswith("_"):
            continue
        path = f"{prefix}{_alias(kind, name)}"
        value = getattr(model, name) if model else field.default
        if isinstance(value, BaseModel):
            yield from _rows(value, type(value), f"{path}.")
            continue
        required = model is None and field.is_required()
        default = "required" if required else f"`{json.dumps(_plain(value))}`"
        yield path, default, " ".join(_description(kind, name)).replace("|", "\\|")
        if (inner := _values_of_map(field.annotation)) is not None:
            yield from _rows(None, inner, f"{path}.NAME.")


def _fields(model: BaseModel) -> Iterator[tuple[str, Any]]:
    """Yield fields with their values, without Helm's own."""
    for name in type(model).model_fields:
        if not name.endswith("_"):
            yield name, getattr(model, name)


def _alias(kind: type[BaseModel], name: str) -> str:
    alias = kind.model_fields[name].alias
    assert alias
    return alias


def _description(kind: type[BaseModel], name: str) -> list[str]:
    """Return the field's docstring, or else that of its model."""
    field = kind.model_fields[name]
    text = field_docstrings(kind).get(name)
    inner = field.annotation
    if not text and isinstance(inner, type) and issubclass(inner, BaseModel):
        text = inner.__doc__
    return [line.strip() for line in (text or "").splitlines()]


def _values_of_map(annotation: Any) -> type[BaseModel] | None:
    for inner in getattr(annotation, "__args__", ()):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _untitled(node: Any) -> Any:
    """Remove the titles that pydantic derives from names."""
    if isinstance(node, dict):
        return {
            key: _untitled(inner)
            for key, inner in node.items()
            if not (key == "title" and isinstance(inner, str))
        }
    return [_untitled(inner) for inner in node] if isinstance(node, list) else node


def _crd_template(definition: dict[str, Any]) -> str:
    metadata = definition["metadata"] | {
        # Without it an uninstall would delete every Soup and DataShard of the cluster.
        "annotations": {"helm.sh/resource-policy": "keep"},
        "labels": {"app.kubernetes.io/name": "stockpot"},
    }
    text = yaml.dump(definition | {"metadata": metadata}, Dumper=_Plain, sort_keys=False, width=100)
    assert "{{" not in text, "Helm would read it as a template"
    origin = "Generated from src/stockpot/api/v1alpha1/. To change it: edit there, `make generate`."
    return f"{{{{- /* {origin} */ -}}}}\n{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"


class _Plain(yaml.SafeDumper):
    """Writes no anchors, which make a CRD hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
