"""The base of all API models: camelCase in JSON, frozen, without unknown fields."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue

from stockpot.api.docstrings import field_docstrings

DecimalString = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$", strict=True)
]
"""A non-negative decimal, written as a string: floats differ between languages, strings do not."""

SignedDecimalString = Annotated[
    str,
    StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$", strict=True),
]
"""A decimal that may be negative, written as a string."""

DigestString = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time that Stockpot writes: RFC 3339 in UTC, as `2026-11-22T12:00:00Z`."""


def _a_real_one(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Instant = Annotated[
    str,
    StringConstraints(
        pattern=r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
        r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
        max_length=25,
    ),
    AfterValidator(_a_real_one),
    Field(json_schema_extra={"format": "date-time"}),
]
"""A time that a user writes: RFC 3339 to the second with its zone, as `2027-01-01T00:00:00Z`."""


@dataclass(frozen=True)
class Rule:
    """A constraint on fields, written twice: as CEL for the API server, and in Python for lint.

    It is not a pydantic validator: a stored object must stay readable.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    """Returns whether a model of the class fulfils the rule."""
    field: str = ""
    """The field that the complaint names, as users write it; empty for the whole model."""


class Model(BaseModel):
    """A value: models with equal fields are equal."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="forbid",
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL rules to the schema, for the API server, and the fields' docstrings."""
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)
        if cls.RULES:
            rules = [{"rule": rule.cel, "message": rule.message} for rule in cls.RULES]
            own["x-kubernetes-validations"] = rules
        for name, text in field_docstrings(cls).items():
            if name in cls.model_fields:
                field = own["properties"][cls.model_fields[name].alias or name]
                field.setdefault("description", text)
        return schema


def cel(rule: str, message: str) -> dict[str, Any]:
    """Return a CEL rule with its message, for the `json_schema_extra` of a model or field."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


def immutable(instead: str) -> Any:
    """Annotate a required or defaulted field as immutable; the message says what to do instead."""
    return Field(json_schema_extra=cel("self == oldSelf", f"cannot be changed; {instead}"))
