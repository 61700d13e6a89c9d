"""Evaluators by name: ours, and those of the entry-point group `stockpot.evaluator`.

Each is a class that is made from its options, `Class(**options)`, and has an `evaluate` method.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import pydantic

from stockpot.api.training import Named
from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.heldout_loss import HeldoutLoss
from stockpot.evaluation.samples import Samples
from stockpot.evaluation.style import Style
from stockpot.evaluation.subject import Evaluator

ENTRY_POINTS = "stockpot.evaluator"
BUILT_IN: Mapping[str, Any] = {"heldout_loss": HeldoutLoss, "samples": Samples, "style": Style}


def find_evaluator(named: Named) -> Evaluator:
    """Make the evaluator of that name, with its options.

    Raises:
        Refused: (BAD_RUN_SPEC) There is none of that name, or it refuses its options.
    """
    others = {one.name: one for one in entry_points(group=ENTRY_POINTS)}
    known = {*BUILT_IN, *others}
    if named.name not in known:
        raise Refused(
            f"There is no evaluator {named.name}; there is {', '.join(sorted(known))}.",
            help=f"install a package with an entry point {named.name} in {ENTRY_POINTS}",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )
    kind = BUILT_IN.get(named.name) or others[named.name].load()
    try:
        made: Evaluator = kind(**named.options)
    except (pydantic.ValidationError, TypeError) as error:
        raise Refused(
            f"The evaluator {named.name} refuses its options: {_first(error)}.",
            help="mend spec.evaluation.suite of the Soup",
            exit_code=ExitCode.BAD_RUN_SPEC,
        ) from error
    return made


def _first(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
