"""Check the methods, optimizers, evaluators and weightings of a Soup, with their options."""

from collections.abc import Iterator

from stockpot.api.complaints import Complaint
from stockpot.api.options import METHODS, OPTIMIZERS, WEIGHTINGS, Installed, suite_complaints
from stockpot.api.v1alpha1 import SoupSpec


def soup_complaints(spec: SoupSpec, installed: Installed) -> Iterator[Complaint]:
    """Yield the mistakes in names and options that the first runs would report."""
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
    """Return a complaint if pictures of this size do not divide into latents, or None.

    Args:
        resolution: The resolution of the training, in pixels.
        pixels_per_latent: Pixels along one side of a latent of the base.
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
    """Return the complaint that fp16 training needs a GPU."""
    return Complaint(
        "mixedPrecision fp16 needs a GPU, and there is none",
        ("spec", "training", "mixedPrecision"),
        help="set training.mixedPrecision to bf16 or no, or give the training a GPU",
    )
