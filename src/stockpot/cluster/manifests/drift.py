"""Whether an object is as we told it to be. Pure.

The API server adds defaults, and others own fields of their own: so every field that we tell is
looked for in the live object, and nothing else is looked at. A settled world then needs no write,
and what somebody edited by hand is found.
"""

import re
from decimal import Decimal
from typing import Any

KEYS = {
    "containers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "ports": "name",
}
"""Lists to which others may add: their elements are found by this field, as the API server's
server-side apply finds them. All other lists are one value."""

QUANTITIES = {"limits", "requests", "sizeLimit", "capacity"}
_SUFFIXES = {
    "": Decimal(1),
    **{letter: Decimal(1000) ** n for n, letter in enumerate("num", start=-3)},
    **{letter: Decimal(1000) ** n for n, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** n for n, letter in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([+-]?[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def is_as_told(live: Any, told: Any) -> bool:
    """Whether every field that is told is so in the live object.

    Args:
        live: From the API server; None where there is none.
        told: What was applied, or would be.
    """
    return _is_so(live, told, "", is_quantity=False)


def _is_so(live: Any, told: Any, field: str, *, is_quantity: bool) -> bool:
    is_quantity = is_quantity or field in QUANTITIES
    if told in (None, "", [], {}) and live is None:
        return True  # The API server leaves out what is empty.
    match told:
        case dict():
            return isinstance(live, dict) and all(
                _is_so(live.get(key), value, key, is_quantity=is_quantity)
                for key, value in told.items()
            )
        case list() | tuple():
            return isinstance(live, list) and _has(live, list(told), field)
        case _ if is_quantity and live is not None:
            return quantity(live) == quantity(told)
        case _:
            return type(live) is type(told) and bool(live == told)


def _has(live: list[Any], told: list[Any], field: str) -> bool:
    if key := KEYS.get(field):
        found = {one.get(key): one for one in live}
        return all(
            _is_so(found.get(one[key]), one, "", is_quantity=False) and one[key] in found
            for one in told
        )
    return len(live) == len(told) and all(
        _is_so(is_, one, "", is_quantity=False) for is_, one in zip(live, told, strict=True)
    )


def quantity(text: str | float) -> Decimal | str:
    """Read an amount as Kubernetes writes it: `500m`, `1.5Gi`, `2e3`; anything else is itself."""
    parts = _QUANTITY.fullmatch(str(text))
    if not parts or parts[2] not in _SUFFIXES or not re.search("[0-9]", parts[1]):
        return str(text)
    return Decimal(parts[1]) * _SUFFIXES[parts[2]]
