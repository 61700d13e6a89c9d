"""Generate the reference pages from models: every field, condition, reason and exit code.

Descriptions stand beside the definitions, and only there.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from stockpot.api.conditions import ConditionType, Explained, Reason
from stockpot.api.crd import FACES, crd
from stockpot.api.docstrings import field_docstrings
from stockpot.api.options import EVALUATORS, METHODS, OPTIMIZERS, WEIGHTINGS
from stockpot.api.states import ShardState, SoupState
from stockpot.api.structural import VALIDATIONS, Schema
from stockpot.api.v1alpha1 import API_VERSION, DataShard, Soup
from stockpot.errors import FINAL_EXIT_CODES, ExitCode

HEADER = "<!-- Generated from src/stockpot. To change it: edit there, `make generate`. -->\n"

EXAMPLES: dict[type[DataShard] | type[Soup], str] = {
    DataShard: """\
apiVersion: stockpot.dev/v1alpha1
kind: DataShard
metadata:
  name: food
spec:
  soupRef:
    name: emoji
  source:
    s3:
      prefix: data/food/
  weight: "1"
""",
    Soup: """\
apiVersion: stockpot.dev/v1alpha1
kind: Soup
metadata:
  name: emoji
spec:
  base:
    s3:
      prefix: bases/emoji/
  training:
    maxTrainSteps: 150
    trainBatchSize: 32
    resolution: 32
    optimizer:
      options:
        learningRate: "0.0005"
""",
}


def pages() -> dict[str, str]:
    """Return the text of every generated page of `docs/reference/`, by name."""
    return {
        "datashard.md": kind_page(DataShard),
        "soup.md": kind_page(Soup),
        "conditions.md": conditions_page(),
        "exit-codes.md": exit_codes_page(),
    }


def kind_page(kind: type[DataShard] | type[Soup]) -> str:
    """Write the page of a kind: its description, a minimal example, every field."""
    definition = crd(kind)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    names = ", ".join(f"`{name}`" for name in (kind.PLURAL, *FACES[kind].short_names))
    lines = [
        HEADER,
        f"# {kind.__name__}",
        "",
        str(kind.__doc__),
        "",
        f"`{API_VERSION}`, namespaced; kubectl knows it as {names}.",
        "",
        "```yaml",
        EXAMPLES[kind].rstrip(),
        "```",
        "",
        "All fields of the spec and the status. A field with a default, or marked optional, may be",
        "left out. Decimals are strings, in quotes.",
    ]
    for part, title in (("spec", "Spec"), ("status", "Status")):
        lines += ["", f"## {title}", "", "| field | type | default | is |", "|---|---|---|---|"]
        fields = schema["properties"][part]
        lines += [_row(*field) for field in _fields(fields, filled_in=part == "spec")]
    if kind is Soup:
        lines += _options_section()
    if rules := list(_rules(schema, ())):
        lines += ["", "## Refused by the API server, and by `stockpot lint`", ""]
        lines += ["| field | says |", "|---|---|"]
        lines += [f"| `{path}` | {message} |" for path, message in rules]
    return "\n".join(lines) + "\n"


def conditions_page() -> str:
    """Write the page of condition types and reasons."""
    lines = [
        HEADER,
        "# Conditions",
        "",
        "The state of an object is in `status.conditions`, as kstatus defines them: `Ready` is",
        "True if the object is as its spec asks; `Reconciling` and `Stalled` are present only",
        "while they are True. The message of a condition has the facts, and what to do.",
        "",
        "| condition | means |",
        "|---|---|",
        *(f"| `{condition_type}` | {condition_type.meaning} |" for condition_type in ConditionType),
        "",
        "## States",
        "",
        "`status.state` is one word for `kubectl get` and dashboards, derived from the conditions.",
        "",
        *_states("DataShard", ShardState),
        "",
        *_states("Soup", SoupState),
        "",
        "## Reasons",
        "",
        "| reason | means |",
        "|---|---|",
        *(f"| `{reason}` | {reason.meaning} |" for reason in Reason),
    ]
    return "\n".join(lines) + "\n"


def _states(kind: str, states: Iterable[Explained]) -> Iterator[str]:
    yield from (f"| {kind} | means |", "|---|---|")
    yield from (f"| `{state}` | {state.meaning} |" for state in states)


def exit_codes_page() -> str:
    """Write the page of exit codes."""
    first, last = FINAL_EXIT_CODES[0], FINAL_EXIT_CODES[-1]
    lines = [
        HEADER,
        "# Exit codes",
        "",
        f"Exit codes of the command `stockpot` and of every workload. {first} to {last} mean that",
        "the same input would fail in the same way again: the Job fails at once, without another",
        "attempt. Not all of these are in use.",
        "",
        "| code | name | means |",
        "|---|---|---|",
        *(
            f"| {int(exit_code)} | `{exit_code.name}` | {exit_code.meaning} |"
            for exit_code in ExitCode
        ),
    ]
    return "\n".join(lines) + "\n"


def _options_section() -> list[str]:
    """Write the section of built-in names and their options."""
    lines = [
        "",
        "## Names and options",
        "",
        "Built-in names. Packages add others by entry points: `stockpot lint` knows those of the",
        "machine that it runs on; name others with `--plugin`. Options are strings, in quotes.",
        "",
        "| field | name | option | default | is |",
        "|---|---|---|---|---|",
    ]
    for registry in (METHODS, OPTIMIZERS, WEIGHTINGS, EVALUATORS):
        for name, model in sorted(registry.built_in.items()):
            here = f"| `{registry.field}` | `{name}` |"
            says_of = field_docstrings(model)
            if not model.model_fields:
                lines.append(f"{here} none | | |")
            for field, info in model.model_fields.items():
                says = " ".join(filter(None, (says_of.get(field), _bounds(info.metadata))))
                default = json.dumps(str(info.default))
                lines.append(f"{here} `{info.alias or field}` | `{default}` | {_cell(says)} |")
    return lines


def _bounds(limits: Iterable[Any]) -> str:
    """Format the bounds of an option."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    known = [
        f"{word} {getattr(limit, name):,}"
        for limit in limits
        for name, word in words.items()
        if getattr(limit, name, None) is not None
    ]
    text = " and ".join(known)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _row(path: str, schema: Schema, required: bool, filled_in: bool) -> str:
    default = ""
    if required:
        default = "required"
    elif "default" in schema and schema["default"] != {}:
        default = f"`{json.dumps(schema['default'])}`"
    elif filled_in:
        default = "optional"
    says = schema.get("description", "")
    if limits := _limits(schema):
        says = f"{says} {limits}" if says else limits
    return f"| `{path}` | {_type(schema)} | {default} | {_cell(says)} |"


def _fields(
    schema: Schema, prefix: str = "", *, filled_in: bool
) -> Iterator[tuple[str, Schema, bool, bool]]:
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, field, name in schema.get("required", ()), filled_in
        if field["type"] == "array" and _is_object(field["items"]):
            yield from _fields(field["items"], f"{path}[].", filled_in=filled_in)
        else:
            yield from _fields(field, f"{path}.", filled_in=filled_in)


def _rules(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for rule in schema.get(VALIDATIONS, ()):
        yield ".".join(path) or "metadata.name", _cell(rule["message"])
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, (*path, name))


def _is_object(schema: Schema) -> bool:
    return schema["type"] == "object" and "properties" in schema


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return _or(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object" and "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema.get("format") if schema.get("format") == "date-time" else schema["type"])


def _limits(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}."
    return f"At least {low:,}." if low is not None else ""


def _or(words: Iterable[Any]) -> str:
    return " or ".join(map(str, words))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
