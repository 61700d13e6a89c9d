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


def resolution_complaint(resolution: int, pixels_per_latent: int) -> Complaint | None:
    """Say that pictures of this size do not go into latents, where they do not.

    Args:
        resolution: Of the training, in pixels.
        pixels_per_latent: How many pixels a latent of the base spans, along one side.
    """
    if resolution % pixels_per_latent == 0:
        return None
    return Complaint(
        f"a resolution of {resolution} pixels is no multiple of {pixels_per_latent}, which is what "
        "one latent of the base spans",
        ("spec", "training", "resolution"),
        help="change training.resolution of the Soup",
    )


def half_precision_complaint() -> Complaint:
    """Say that nothing can be trained in fp16 without a GPU."""
    return Complaint(
        "mixedPrecision fp16 needs a GPU, and there is none",
        ("spec", "training", "mixedPrecision"),
        help="set training.mixedPrecision to bf16 or no, or give the training a GPU",
    )
