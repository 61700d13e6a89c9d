"""The dashboard's expressions, with values for its variables."""

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
    return [panel for panel in json.loads(dashboard())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    document = json.loads(dashboard())
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (mark["expr"] for mark in document["annotations"]["list"])


def chosen(expr: str) -> str:
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, "a variable without a value"
    return expr


def has_a_number(samples: Sequence[Sample]) -> bool:
    """Whether any series has a number at any time of the query."""
    points = (point for sample in samples for point in sample.get("values", [sample.get("value")]))
    return any(math.isfinite(float(value)) for _, value in points)
