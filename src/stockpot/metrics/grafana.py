"""Grafana's own form of a dashboard. What is in ours stands in `dashboard.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 39
"""Of Grafana 11; later ones read it, too."""
_WIDTH = 24
"""Columns of Grafana's grid."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One expression, and how its series are called."""

    expr: str
    legend: str
    at_once: bool = False
    """Asked for one moment, not for the whole time."""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    about: str
    """What it tells, and what to do about it."""
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    dashed: str = ""
    """Series of this name are drawn dashed: what the others are compared with."""
    limits: Sequence[tuple[str, float | None]] = ()
    """Colours from a value upwards; the first has none."""
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel] = field(default=())


@dataclass(frozen=True)
class Choice:
    """What a person chooses above the panels."""

    name: str
    """Expressions name it with a `$`."""
    query: str
    first: str = ""
    """What is chosen at first; empty: everything, and then several may be."""


@dataclass(frozen=True)
class Mark:
    """Moments that are marked in every picture over time."""

    name: str
    expr: str
    """Has a sample when there is something to mark."""
    title: str
    text: str


def dashboard_json(
    *,
    uid: str,
    title: str,
    about: str,
    rows: Sequence[Row],
    choices: Sequence[Choice],
    marks: Sequence[Mark],
) -> str:
    """Write a dashboard as Grafana imports it; the data source is chosen above the panels."""
    document = {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["stockpot"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_DATA_SOURCE, *map(_choice, choices)]},
        "annotations": {"list": [_mark(mark) for mark in marks]},
        "panels": _panels(rows),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


_DATA_SOURCE: Json = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "current": {},
}


def _choice(choice: Choice) -> Json:
    said: Json = {
        "name": choice.name,
        "label": choice.name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": choice.query, "refId": choice.name},
        "definition": choice.query,
        "refresh": 2,
        "sort": 1,
    }
    if choice.first:
        return said | {"current": {"text": choice.first, "value": choice.first}}
    # Of everything, too, what has no such label.
    all_ = {"text": "All", "value": "$__all"}
    return said | {"includeAll": True, "multi": True, "allValue": ".*", "current": all_}


def _mark(mark: Mark) -> Json:
    return {
        "name": mark.name,
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": mark.expr,
        "titleFormat": mark.title,
        "textFormat": mark.text,
    }


def _panels(rows: Sequence[Row]) -> list[Json]:
    panels: list[Json] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        panels.append(_numbered(panels, {"type": "row", "title": row.title, "gridPos": place}))
        top, left = top + 1, 0
        assert sum(panel.width for panel in row.panels) == _WIDTH, row.title
        for panel in row.panels:
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append(_numbered(panels, _panel(panel) | {"gridPos": place}))
            left += panel.width
        top += max(panel.height for panel in row.panels)
    return panels


def _numbered(before: list[Json], panel: Json) -> Json:
    return {"id": len(before) + 1, **panel}


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [_target(number, query) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.kind],
    }


def _target(number: int, query: Query) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "datasource": _SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": query.at_once,
        "range": not query.at_once,
    }


def _defaults(panel: Panel) -> Json:
    said: Json = {"unit": panel.unit, "min": 0}
    if panel.unit == "percentunit":
        said["max"] = 1
    if panel.decimals is not None:
        said["decimals"] = panel.decimals
        # Figures differ little: from 0 upwards they would all look the same.
        del said["min"]
    steps = [{"color": colour, "value": value} for colour, value in panel.limits]
    said["thresholds"] = {
        "mode": "absolute",
        "steps": steps or [{"color": "blue" if panel.kind == "stat" else "green", "value": None}],
    }
    if panel.kind == "timeseries":
        said["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return said


def _overrides(panel: Panel) -> list[Json]:
    if not panel.dashed:
        return []
    return [
        {
            "matcher": {"id": "byName", "options": panel.dashed},
            "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": "gray"}},
            ],
        }
    ]


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _LAST,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": "value",
    },
    "bargauge": {
        "reduceOptions": _LAST,
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "color",
    },
}
