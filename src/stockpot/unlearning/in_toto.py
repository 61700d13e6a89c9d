"""The in-toto Statement, which every entry of a chain is."""

from typing import Literal

import rfc8785
from pydantic import Field

from stockpot.api.model import Model


class StatementSubject(Model):
    """What a statement is about."""

    name: str
    digest: dict[str, str]
    """Hex digits by algorithm, as in-toto has it: no prefix."""


class Statement(Model):
    """An in-toto Statement, version 1. A subclass adds its predicate and the predicate's type."""

    statement_type: Literal["https://in-toto.io/Statement/v1"] = Field(
        default="https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: tuple[StatementSubject, ...]

    @property
    def canonical(self) -> bytes:
        """The bytes that are signed (RFC 8785)."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))
