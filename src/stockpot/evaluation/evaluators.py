"""Evaluators by name: ours, and those of the entry-point group `stockpot.evaluator`.

Each is a class that is made from its options, `Class(**options)`, and has an `evaluate` method.
"""

from collections.abc import Mapping, Sequence

from stockpot.api.options import EVALUATORS, read_options, suite_complaints
from stockpot.api.training import Named
from stockpot.evaluation.heldout_loss import HeldoutLoss
from stockpot.evaluation.samples import Samples
from stockpot.evaluation.style import Style
from stockpot.evaluation.subject import Evaluator
from stockpot.extensions import declared, make, refuse

BUILT_IN: Mapping[str, type[HeldoutLoss] | type[Samples] | type[Style]] = {
    "heldout_loss": HeldoutLoss,
    "samples": Samples,
    "style": Style,
}


def find_suite(suite: Sequence[Named], *, has_records: bool) -> list[tuple[str, Evaluator]]:
    """Make the evaluators of a suite, each with its name.

    Args:
        suite: Their names and options.
        has_records: Whether the soup names held-out records.

    Raises:
        Refused: (BAD_RUN_SPEC) There is none of a name, one refuses its options or breaks on being
            loaded, is there twice, or needs records that there are not.
    """
    refuse(list(suite_complaints(suite, declared(EVALUATORS), has_records=has_records)))
    return [(named.name, _make(named)) for named in suite]


def _make(named: Named) -> Evaluator:
    if kind := BUILT_IN.get(named.name):
        built_in: Evaluator = read_options(kind, named)
        return built_in
    made: Evaluator = make(
        EVALUATORS, named, lambda kind: kind(**named.options), needs=("evaluate",)
    )
    return made
