"""Evaluators of other packages: call them, and check what they return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockpot.api.manifest import LineagePair
from stockpot.api.omissions import Omission
from stockpot.evaluation.evaluator import EvaluatedRevision, EvaluatorResult
from stockpot.evaluation.measurements import Measurement
from stockpot.extensions import LoadedPlugin
from stockpot.store.artefacts import EVALUATION
from stockpot.store.keys import MANIFEST

_OURS = {EVALUATION, MANIFEST}
"""Files of an evaluation that no evaluator may write."""


@dataclass(frozen=True)
class PluginEvaluator:
    """An evaluator of another package, as an `Evaluator`."""

    loaded: LoadedPlugin

    def evaluate(self, revision: EvaluatedRevision) -> EvaluatorResult:
        """Evaluate the revision.

        Raises:
            Refused: (BAD_RUN_SPEC) The package's code raises, or returns what no evaluation can
                hold.
        """
        result = self.loaded.call("evaluate", revision)
        if fault := _fault(result):
            raise self.loaded.refused(f"its evaluate returned {fault}")
        assert isinstance(result, EvaluatorResult)
        return result


def _fault(result: Any) -> str:
    """Say what is wrong with a result; empty where nothing is."""
    if not isinstance(result, EvaluatorResult):
        return f"no EvaluatorResult, but a {type(result).__name__}"
    return (
        _figures_fault(result.figures)
        or _files_fault(result.files)
        or _items_fault("omissions", result.omissions, Omission)
        or _items_fault("fitted_on", result.fitted_on, LineagePair)
    )


def _figures_fault(figures: Any) -> str:
    if not isinstance(figures, Mapping):
        return f"figures that are no mapping, but a {type(figures).__name__}"
    for name, figure in figures.items():
        if not isinstance(name, str) or not name:
            return f"a figure with the name {name!r}, which is no text"
        if not isinstance(figure, Measurement):
            return f"the figure {name} as a {type(figure).__name__}, which is no Measurement"
        items: Any = figure.items
        if not isinstance(items, Mapping) or not items:
            return f"the figure {name} without any item"
        for item, value in items.items():
            kind = type(value).__name__
            if not isinstance(item, str) or not isinstance(value, int | float) or kind == "bool":
                return f"{name} of {item!r} as a {kind}; items are named, and are a float or int"
    return ""


def _files_fault(files: Any) -> str:
    if not isinstance(files, Mapping):
        return f"files that are no mapping, but a {type(files).__name__}"
    for name, content in files.items():
        if not isinstance(name, str) or name in {"", ".", ".."} or set(name) & set("/\\\0"):
            return f"a file called {name!r}, which is no plain file name"
        if name in _OURS:
            return f"a file called {name}, which Stockpot writes itself"
        if not isinstance(content, bytes):
            return f"the file {name} as a {type(content).__name__}, which is not bytes"
    return ""


def _items_fault(field: str, items: Any, kind: type) -> str:
    if not isinstance(items, tuple) or not all(isinstance(item, kind) for item in items):
        return f"{field} that are no tuple of {kind.__name__}"
    return ""
