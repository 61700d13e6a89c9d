"""What a Soup may name: methods, optimizers, evaluators and weightings, with their options."""

from collections.abc import Iterator

from stockpot.api.complaints import Complaint
from stockpot.api.options import METHODS, OPTIMIZERS, WEIGHTINGS, Installed, suite_complaints
from stockpot.api.v1alpha1 import SoupSpec


def soup_complaints(spec: SoupSpec, installed: Installed) -> Iterator[Complaint]:
    """Say what the first training, merge and evaluation would say of names and options."""
    training, evaluation = spec.training, spec.evaluation
    for complaint in METHODS.complaints(training.method, installed.methods):
        yield complaint.below("spec", "training", "method")
    for complaint in OPTIMIZERS.complaints(training.optimizer, {}):
        yield complaint.below("spec", "training", "optimizer")
    for complaint in WEIGHTINGS.complaints(spec.merge.weighting, installed.weightings):
        yield complaint.below("spec", "merge", "weighting")
    for complaint in suite_complaints(
        evaluation.suite, installed.evaluators, has_records=evaluation.source is not None
    ):
        yield complaint.below("spec", "evaluation", "suite")
