"""Check in `lint` the rules that the API server checks by CEL, with the same messages."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from stockpot.api.complaints import Complaint, Path, clip, spell
from stockpot.api.model import Model


def broken_rules(value: Any, path: Path = ()) -> Iterator[Complaint]:
    """Yield a complaint for every rule that an object, or a value within it, breaks.

    Args:
        value: A model, or the value of a field.
        path: The path of the value.
    """
    if isinstance(value, tuple | list):
        for place, item in enumerate(value):
            yield from broken_rules(item, (*path, place))
    if not isinstance(value, BaseModel):
        return
    for rule in value.RULES if isinstance(value, Model) else ():
        if not rule.holds(value):
            where = (*path, rule.field) if rule.field else path
            yield Complaint(_subject(value, rule.field, where), where, help=rule.message)
    for name, field in type(value).model_fields.items():
        yield from broken_rules(getattr(value, name), (*path, field.alias or name))


def _subject(model: BaseModel, field: str, path: Path) -> str:
    """Return the field with its value, if the value is short."""
    names = {info.alias or name: name for name, info in type(model).model_fields.items()}
    value = getattr(model, names[field]) if field else None
    if isinstance(value, str | int) and not isinstance(value, bool):
        shown = value if isinstance(value, int) or value.isprintable() else repr(value)
        return f"{spell(path)} is {clip(str(shown))}"
    return f"{spell(path)} cannot be so"
