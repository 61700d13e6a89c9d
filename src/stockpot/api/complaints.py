"""Turn pydantic's errors into complaints that say what to write instead.

Pure functions. `reading` adds the file and the line.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from stockpot.api.v1alpha1 import MAX_NAME

Path = tuple[str | int, ...]

DECIMAL = re.compile(r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$")

EXAMPLES = {
    "metadata": "metadata: {name: food}",
    "metadata.name": "metadata: {name: food}",
    "spec.soupRef": "soupRef: {name: emoji}",
    "spec.soupRef.name": "soupRef: {name: emoji}",
    "spec.source": "source: {s3: {prefix: data/food/}}",
    "spec.base": "base: {s3: {prefix: bases/emoji/}}",
}


@dataclass(frozen=True)
class Complaint:
    """A mistake in a manifest, or a note about it."""

    message: str
    path: Path = ()
    """The path of the field, from the root of its object."""
    place: str = ""
    """File and line."""
    help: str = ""

    def below(self, *above: str | int) -> "Complaint":
        """Return the complaint with its path below another path."""
        return replace(self, path=(*above, *self.path))

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}; {self.help}" if self.help else text


def complaints_of(
    error: ValidationError, model: type[BaseModel], written: Callable[[Path], str | None]
) -> list[Complaint]:
    """Translate each of pydantic's errors into a complaint about the manifest.

    Args:
        error: The error of a strict validation of JSON.
        model: The model that the JSON was validated against.
        written: Returns the text of a value as the file has it, or None.
    """
    return [_complaint_of(problem, model, written) for problem in error.errors(include_url=False)]


def _complaint_of(
    problem: Any, model: type[BaseModel], written: Callable[[Path], str | None]
) -> Complaint:
    path: Path = tuple(part for part in problem["loc"] if part != "[key]")
    dotted = spell(path)
    value, kind = problem["input"], problem["type"]
    text = written(path)
    if text is None:
        text = json.dumps(value, ensure_ascii=False, default=str)
    subject = f"{dotted} is {clip(text)}"
    name = str(path[-1]) if path else ""
    match kind:
        case "extra_forbidden":
            return _unknown(path, model)
        case "missing":
            return Complaint(f"{dotted} is missing", path, help=_write(EXAMPLES.get(dotted)))
        case "string_type" | "enum" | "literal_error" if isinstance(value, bool | int | float):
            return _unquoted(path, subject, text, value, is_decimal=_is_decimal(path, model))
        case "string_pattern_mismatch" | "string_too_short" | "string_too_long":
            return Complaint(subject, path, help=_form(problem, name, value))
        case "enum" | "literal_error":
            return Complaint(subject, path, help=f"write {_choices(problem['ctx']['expected'])}")
        case "value_error" if isinstance(value, str):
            return Complaint(f"{subject}: {problem['ctx']['error']}", path)
        case "value_error":
            return Complaint(f"{dotted}: {problem['ctx']['error']}", path)
        case _:
            return _misshapen(problem, path, subject)


def _misshapen(problem: Any, path: Path, subject: str) -> Complaint:
    """Return the complaint about a value of the wrong type."""
    value = problem["input"]
    match problem["type"]:
        case "int_type" if isinstance(value, str):
            is_number = value.strip().isdecimal()
            advice = "write it without quotes" if is_number else "write a whole number"
            return Complaint(f"{subject}, a string", path, help=advice)
        case "bool_type" if isinstance(value, str):
            is_truth = value.lower() in {"true", "false", "yes", "no", "on", "off"}
            advice = "write it without quotes" if is_truth else "write true or false"
            return Complaint(f"{subject}, a string", path, help=advice)
        case _ if value is None:
            return Complaint(
                f"{spell(path)} is empty", path, help="leave it out, or say what it is"
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            return Complaint(subject, path, help="it is a mapping: `name: value` lines below it")
        case "tuple_type" | "list_type":
            return Complaint(
                subject, path, help="it is a list: lines below it that begin with `- `"
            )
        case _:
            return Complaint(subject, path, help=_in_general(problem))


def _unquoted(path: Path, subject: str, text: str, value: float, *, is_decimal: bool) -> Complaint:
    name = path[-1] if path else ""
    what = "which YAML reads as a truth value" if isinstance(value, bool) else "a number"
    if is_decimal and not isinstance(value, bool) and not DECIMAL.match(text):
        return Complaint(
            subject, path, help=f'write a decimal of 0 or more in quotes: {name}: "0.5"'
        )
    return Complaint(f"{subject}, {what}", path, help=f'write it in quotes: {name}: "{text}"')


def _is_decimal(path: Path, model: type[BaseModel]) -> bool:
    """Return whether the field is a decimal, not any text."""
    field = fields_at(model, path[:-1]).get(str(path[-1])) if path else None
    written = repr(DECIMAL.pattern)
    return field is not None and written in f"{field.annotation!r} {field.metadata!r}"


def _form(problem: Any, name: str, value: Any) -> str:
    """Return the expected form of a string that does not match its pattern."""
    pattern = problem.get("ctx", {}).get("pattern", "")
    if pattern == DECIMAL.pattern:
        return f'write a decimal of 0 or more in quotes: {name}: "0.5"'
    if "T[0-9]" in pattern:
        return "write a time with its zone: 2027-01-01T00:00:00Z"
    if "sha256" in pattern or name == "digest":
        return "write sha256: and 64 digits of 0-9 and a-f"
    if name in {"name", "namespace"}:
        most = problem.get("ctx", {}).get("max_length", MAX_NAME)
        if isinstance(value, str) and len(value) > most:
            return f"write at most {most} letters; it has {len(value)}"
        return "write small letters a-z, digits and -, and neither begin nor end with -"
    return _in_general(problem)


def _in_general(problem: Any) -> str:
    """Return pydantic's message as the end of a sentence."""
    message: str = problem["msg"].replace("Input should", "it should").replace("String", "it")
    return message[0].lower() + message[1:]


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """Return the most similar known word, or an empty string."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), "")


def _unknown(path: Path, model: type[BaseModel]) -> Complaint:
    known = sorted(fields_at(model, path[:-1]))
    near = nearest(str(path[-1]), known)
    help_ = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
    return Complaint(f"unknown field {spell(path)}", path, help=help_)


def fields_at(model: type[BaseModel], path: Path) -> Mapping[str, Any]:
    """Return the fields at a path below a model, by the names that users write."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    if not path:
        return fields
    head, rest = path[0], path[1:]
    if head not in fields:
        return {}
    inner = _model_in(fields[str(head)].annotation)
    while rest and isinstance(rest[0], int):
        rest = rest[1:]
    return fields_at(inner, rest) if inner else {}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within `X | None`, `Annotated[X, …]` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((m for a in typing.get_args(annotation) if (m := _model_in(a))), None)


def spell(path: Sequence[str | int]) -> str:
    """Format a path as `spec.evaluation.suite[0].name`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out or "the object"


def _write(example: str | None) -> str:
    return f"write, for example, {example}" if example else ""


def _choices(expected: str) -> str:
    return expected.replace("'", "")


def clip(text: str) -> str:
    """Shorten a text to at most 60 characters."""
    return text if len(text) <= 60 else f"{text[:57]}..."
