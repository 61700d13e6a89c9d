"""Load the weighting and check the training and evaluation of a Soup, for a reconcile round."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from stockpot.api.complaints import Complaint
from stockpot.api.conditions import Reason
from stockpot.api.options import EVALUATORS, METHODS, OPTIMIZERS, WEIGHTINGS
from stockpot.api.reading import ParsedManifest
from stockpot.api.soups import resolution_complaint
from stockpot.api.training import Named, Training
from stockpot.api.v1alpha1 import Evaluation, Soup
from stockpot.core.weighting import Declared, UnusablePlugin, Weighting
from stockpot.errors import Refused
from stockpot.extensions import declared, load_plugin

BUILT_IN: Mapping[str, type[Weighting]] = {"Declared": Declared}


def resolve_weighting(named: Named) -> Weighting | UnusablePlugin:
    """Load a weighting by name; where it is unknown or breaks, return why."""
    plugins = declared(WEIGHTINGS)
    if complaints := WEIGHTINGS.complaints(named, plugins):
        is_known = WEIGHTINGS.is_known(named, plugins)
        return _unusable(
            complaints[0], Reason.WEIGHTING_FAILED if is_known else Reason.UNKNOWN_WEIGHTING
        )
    if built_in := BUILT_IN.get(named.name):
        return built_in()
    try:
        # Not through `call`: the core asks it for weights, and catches what it raises.
        weighting: Weighting = load_plugin(
            WEIGHTINGS, named, lambda factory: factory(**named.options), needs=("step",)
        ).instance
    except Refused as error:
        return UnusablePlugin(error.message, error.help, Reason.WEIGHTING_FAILED)
    return weighting


def weighting_complaints(
    manifests: Iterable[ParsedManifest], *, but: Collection[str] = ()
) -> Iterator[Complaint]:
    """List the Soups that name a weighting of another package that cannot be loaded.

    The operator loads a weighting into its own process; methods and evaluators need torch, and
    are loaded where they run.

    Args:
        manifests: The objects to check.
        but: Names to skip: installed elsewhere, and not here.
    """
    for manifest in manifests:
        if not isinstance(manifest.object, Soup):
            continue
        named = manifest.object.spec.merge.weighting
        if named.name in but or WEIGHTINGS.complaints(named, declared(WEIGHTINGS)):
            continue  # Reading the manifests complains of these.
        weighting = resolve_weighting(named)
        if isinstance(weighting, UnusablePlugin):
            place = manifest.place("spec", "merge", "weighting", "name")
            yield Complaint(weighting.message, place=place, help=weighting.help)


def unusable_training(
    training: Training, pixels_per_latent: int | None = None
) -> UnusablePlugin | None:
    """Return what is wrong with the method, optimizer or resolution of a Soup, or None.

    Each training would fail with the same message, after its pod has started.

    Args:
        training: The settings.
        pixels_per_latent: Pixels along one side of a latent of the base; None if that is unknown.
    """
    plugins = declared(METHODS)
    complaints = [
        *METHODS.complaints(training.method, plugins),
        *OPTIMIZERS.complaints(training.optimizer, {}),
    ]
    if not complaints:
        unfit = pixels_per_latent and resolution_complaint(training.resolution, pixels_per_latent)
        return _unusable(unfit, Reason.BAD_RUN_SPEC) if unfit else None
    is_known = METHODS.is_known(training.method, plugins)
    return _unusable(complaints[0], Reason.BAD_RUN_SPEC if is_known else Reason.UNKNOWN_METHOD)


def unusable_evaluation(evaluation: Evaluation) -> UnusablePlugin | None:
    """Return what is wrong with the evaluators that a Soup names, or None.

    Each evaluation would fail with the same message, after its pod has started.
    """
    plugins = declared(EVALUATORS)
    for named in evaluation.suite:
        if complaints := EVALUATORS.complaints(named, plugins):
            is_known = EVALUATORS.is_known(named, plugins)
            return _unusable(
                complaints[0], Reason.BAD_RUN_SPEC if is_known else Reason.UNKNOWN_EVALUATOR
            )
    return None


def _unusable(complaint: Complaint, reason: Reason) -> UnusablePlugin:
    return UnusablePlugin(complaint.message, complaint.help, reason)
