"""Look evaluators up by name: built in, or of another package by its entry point.

The entry point, in the group `stockpot.evaluator`, is a class that is made from its options,
`Class(**options)`, and follows `Evaluator`.
"""

from collections.abc import Mapping, Sequence

from stockpot.api.options import EVALUATORS, read_options, suite_complaints
from stockpot.api.training import Named
from stockpot.evaluation.evaluator import Evaluator
from stockpot.evaluation.heldout_loss import HeldoutLoss
from stockpot.evaluation.plugin_evaluator import PluginEvaluator
from stockpot.evaluation.samples import Samples
from stockpot.evaluation.style import Style
from stockpot.extensions import declared, load_plugin, refuse

BUILT_IN: Mapping[str, type[HeldoutLoss] | type[Samples] | type[Style]] = {
    "heldout_loss": HeldoutLoss,
    "samples": Samples,
    "style": Style,
}


def load_suite(suite: Sequence[Named], *, has_records: bool) -> list[tuple[str, Evaluator]]:
    """Make the evaluators of a suite, each with its name.

    Args:
        suite: Their names and options.
        has_records: Whether the soup names held-out records.

    Raises:
        Refused: (BAD_RUN_SPEC) A name or an option is unknown, a package breaks on being loaded, a
            name is there twice, or an evaluator needs held-out records and there are none.
    """
    refuse(list(suite_complaints(suite, declared(EVALUATORS), has_records=has_records)))
    return [(named.name, _load(named)) for named in suite]


def _load(named: Named) -> Evaluator:
    if built_in := BUILT_IN.get(named.name):
        evaluator: Evaluator = read_options(built_in, named)
        return evaluator
    return PluginEvaluator(
        load_plugin(
            EVALUATORS, named, lambda factory: factory(**named.options), needs=("evaluate",)
        )
    )
