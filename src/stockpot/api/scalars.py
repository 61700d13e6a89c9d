"""Types of plain YAML scalars as kubectl's Go library reads them, which differ from PyYAML's.

`1e-4` is a number there and text to PyYAML, `y` is a truth value, `08` is 8, and `1:30` is text.
Lint has to read a manifest as the API server does.
"""

import math
import re
from typing import Any, Final

TAG: Final = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, TEXT = (f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str"))

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {
    **{f(word): True for word in ("y", "yes", "true", "on") for f in (str, str.title, str.upper)},
    **{f(word): False for word in ("n", "no", "false", "off") for f in (str, str.title, str.upper)},
}
_SPECIAL = {
    **{f".{name}": math.nan for name in ("nan", "NaN", "NAN")},
    **{f"{sign}.{name}": math.inf for sign in ("", "+") for name in ("inf", "Inf", "INF")},
    **{f"-.{name}": -math.inf for name in ("inf", "Inf", "INF")},
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)"
    r"|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*))"
)
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_MOST_DIGITS = 70
"""More digits than 64 bits have in any base; a longer number can only be a float."""
_WRITTEN_OUT = 1e21
"""Go writes floats below this without an exponent, so those without a fraction become integers."""


def tag_of(text: str) -> str:
    """Return the YAML tag of an unquoted scalar."""
    if text in _NULLS:
        return NULL
    if text in _TRUTHS:
        return BOOL
    if text in _SPECIAL:
        return FLOAT
    number = number_of(text)
    return TEXT if number is None else INT if isinstance(number, int) else FLOAT


def value_of(text: str, tag: str) -> Any:
    """Read a scalar as the type of a tag.

    Raises:
        ValueError: The text is not of that type.
    """
    if tag == NULL and text in _NULLS:
        return None
    if tag == BOOL and text in _TRUTHS:
        return _TRUTHS[text]
    if tag == FLOAT and text in _SPECIAL:
        return _SPECIAL[text]
    number = number_of(text) if tag in {INT, FLOAT} else None
    if number is None or (tag == INT and not isinstance(number, int)):
        raise ValueError(f"{text} is no {tag.removeprefix(TAG)}")
    return number


def number_of(text: str) -> int | float | None:
    """Read a number as it arrives at the API server; None if it is text."""
    if not text or text[0] not in "+-.0123456789":
        return None
    plain = text.replace("_", "")
    if (match := _WHOLE.fullmatch(plain)) and len(plain) <= _MOST_DIGITS:
        kind = next(name for name in _BASES if match[name] is not None)
        value = int(match["sign"] + match[kind], _BASES[kind])
        if -(2**63) <= value < 2**63:
            return value
        if 0 < value < 2**64:
            return _as_written(float(value))
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        return None if math.isinf(number) else _as_written(number)
    return None


def _as_written(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < _WRITTEN_OUT else number
