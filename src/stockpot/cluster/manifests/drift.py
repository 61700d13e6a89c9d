"""Drift of a live object from the applied one. Pure.

Only the fields that we apply are compared: the API server adds defaults, and other managers own
fields of their own. So an unchanged object needs no write, and manual edits are detected.
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
"""Lists to which other managers may add: their elements are matched by this field, as server-side
apply matches them. All other lists are compared as one value."""

QUANTITIES = {"limits", "requests", "sizeLimit", "capacity"}
_SUFFIXES = {
    "": Decimal(1),
    **{letter: Decimal(1000) ** n for n, letter in enumerate("num", start=-3)},
    **{letter: Decimal(1000) ** n for n, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** n for n, letter in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"([+-]?[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def is_applied(live: Any, desired: Any) -> bool:
    """Whether the live object has every field of the desired one.

    Args:
        live: From the API server; None if there is none.
        desired: What was applied, or would be.
    """
    return _matches(live, desired, "", is_quantity=False)


def _matches(live: Any, desired: Any, field: str, *, is_quantity: bool) -> bool:
    is_quantity = is_quantity or field in QUANTITIES
    if desired in (None, "", [], {}) and live is None:
        return True  # The API server omits empty fields.
    match desired:
        case dict():
            return isinstance(live, dict) and all(
                _matches(live.get(key), value, key, is_quantity=is_quantity)
                for key, value in desired.items()
            )
        case list() | tuple():
            return isinstance(live, list) and _list_matches(live, list(desired), field)
        case _ if is_quantity and live is not None:
            return quantity(live) == quantity(desired)
        case _:
            return type(live) is type(desired) and bool(live == desired)


def _list_matches(live: list[Any], desired: list[Any], field: str) -> bool:
    if key := KEYS.get(field):
        by_key = {item.get(key): item for item in live}
        return all(
            _matches(by_key.get(item[key]), item, "", is_quantity=False) and item[key] in by_key
            for item in desired
        )
    return len(live) == len(desired) and all(
        _matches(live_item, item, "", is_quantity=False)
        for live_item, item in zip(live, desired, strict=True)
    )


def quantity(text: str | float) -> Decimal | str:
    """Parse a Kubernetes quantity: `500m`, `1.5Gi`, `2e3`; returns any other text unchanged."""
    parts = _QUANTITY.fullmatch(str(text))
    if not parts or parts[2] not in _SUFFIXES or not re.search("[0-9]", parts[1]):
        return str(text)
    return Decimal(parts[1]) * _SUFFIXES[parts[2]]
