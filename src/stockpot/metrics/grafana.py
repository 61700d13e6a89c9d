"""Builds the JSON model of a Grafana dashboard; `dashboard` has the content."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = 39
"""The schema version of Grafana 11, which later versions read as well."""
_WIDTH = 24
"""Columns of Grafana's grid."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and the legend of its series."""

    expr: str
    legend: str
    instant: bool = False
    """Whether the query is instant instead of over a range."""


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard."""

    title: str
    description: str
    """What it shows, and what to do about it."""
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    dashed: str = ""
    """The legend of the series that is drawn dashed, as the reference for the others."""
    thresholds: Sequence[tuple[str, float | None]] = ()
    """Colours, each with the value that it begins at; None for the first."""
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """A row of panels under a heading."""

    title: str
    panels: Sequence[Panel] = field(default=())


@dataclass(frozen=True)
class Variable:
    """A variable that users choose above the panels."""

    name: str
    """Expressions refer to it as `$name`."""
    query: str
    default: str = ""
    """The initial value. Empty selects all values, and permits several."""


@dataclass(frozen=True)
class Annotation:
    """Marks points in time in every time series panel."""

    name: str
    expr: str
    """Has a sample at each point in time to mark."""
    title: str
    text: str


def dashboard_json(
    *,
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    variables: Sequence[Variable],
    annotations: Sequence[Annotation],
) -> str:
    """Build a dashboard for import into Grafana; the data source is a variable."""
    document = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["stockpot"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_DATA_SOURCE, *map(_variable, variables)]},
        "annotations": {"list": [_annotation(annotation) for annotation in annotations]},
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


def _variable(variable: Variable) -> Json:
    document: Json = {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
    }
    if variable.default:
        return document | {"current": {"text": variable.default, "value": variable.default}}
    # "All" also matches series without the label.
    all_ = {"text": "All", "value": "$__all"}
    return document | {"includeAll": True, "multi": True, "allValue": ".*", "current": all_}


def _annotation(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": annotation.expr,
        "titleFormat": annotation.title,
        "textFormat": annotation.text,
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
        "description": panel.description,
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
        "instant": query.instant,
        "range": not query.instant,
    }


def _defaults(panel: Panel) -> Json:
    document: Json = {"unit": panel.unit, "min": 0}
    if panel.unit == "percentunit":
        document["max"] = 1
    if panel.decimals is not None:
        document["decimals"] = panel.decimals
        # The figures differ little: on an axis from 0 they would look the same.
        del document["min"]
    steps = [{"color": colour, "value": value} for colour, value in panel.thresholds]
    document["thresholds"] = {
        "mode": "absolute",
        "steps": steps or [{"color": "blue" if panel.kind == "stat" else "green", "value": None}],
    }
    if panel.kind == "timeseries":
        document["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return document


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
