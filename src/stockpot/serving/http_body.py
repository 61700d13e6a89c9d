"""Parses the body of a generation request strictly: one JSON object, or an error with the reason.

Python's parser accepts NaN, which is not JSON, and keeps only the last value of a duplicate name.
"""

import json
from email.message import Message
from typing import Any, NoReturn

from starlette.datastructures import Headers

from stockpot.errors import StockpotError
from stockpot.serving.requests import BadParameter, quoted


class BadBody(StockpotError):
    """The body is not a JSON object, or has a content type or encoding that is not supported."""

    def __init__(self, message: str, *, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _NotStandardJson(ValueError):
    """A constant that Python's parser accepts and the JSON standard does not."""


def read_object(headers: Headers, body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadBody: The body is something else, or its headers say so.
        BadParameter: A name is given twice, or is not valid Unicode.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise BadBody(
            f"The body is encoded as {quoted(encoding)}; send it as it is.",
            code="unsupported_encoding",
            status=415,
        )
    if not _is_json(headers.get("content-type", "")):
        raise BadBody("The body must be a JSON object, sent as application/json.")
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"The body is not JSON: {_reason(error)}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise BadBody("The body must be a JSON object, sent as application/json.")
    return value


def _is_json(content_type: str) -> bool:
    header = Message()
    header["content-type"] = content_type
    kind, charset = header.get_content_type(), header.get_content_charset("utf-8")
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    return is_json and charset in {"utf-8", "utf8", "us-ascii"}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if not _is_text(name):
            raise BadParameter(name, f"{quoted(name)} is no name: it cannot be written in UTF-8.")
        if name in members:
            raise BadParameter(name, f"{quoted(name)} is given twice.")
        members[name] = value
    return members


def _is_text(name: str) -> bool:
    """Whether a name is valid Unicode: JSON can spell half of a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case json.JSONDecodeError() | _NotStandardJson():
            return str(error)
        case _:
            return "a number in it has too many digits"


def _refuse_constant(name: str) -> NoReturn:
    raise _NotStandardJson(f"it has {name} in it")
