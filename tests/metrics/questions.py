"""What the dashboard asks, with everything chosen that a person chooses above its panels."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tests.metrics.prometheus import Sample

from stockpot.metrics.dashboard import dashboard

CHOSEN = {
    "$namespace": "studio",
    "$soup": ".*",
    "$metric": "heldout_loss",
    "$__rate_interval": "1m",
    "$__interval": "1m",
}


def panels() -> list[dict[str, Any]]:
    return [one for one in json.loads(dashboard())["panels"] if one["type"] != "row"]


def expressions() -> Iterator[str]:
    document = json.loads(dashboard())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (mark["expr"] for mark in document["annotations"]["list"])


def chosen(expr: str) -> str:
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, "a variable that nobody chooses"
    return expr


def has_a_number(samples: Sequence[Sample]) -> bool:
    """Whether any series, at any moment that was asked for, is a number."""
    points = (point for sample in samples for point in sample.get("values", [sample.get("value")]))
    return any(math.isfinite(float(value)) for _, value in points)
