"""Names that users write, and what a round makes of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from stockpot.api.complaints import Complaint
from stockpot.api.conditions import Reason
from stockpot.api.options import METHODS, OPTIMIZERS, WEIGHTINGS
from stockpot.api.reading import Manifest
from stockpot.api.training import Named, Training
from stockpot.api.v1alpha1 import Soup
from stockpot.core.weighting import Declared, UnusablePlugin, Weighting
from stockpot.errors import Refused
from stockpot.extensions import declared, make

BUILT_IN: Mapping[str, type[Weighting]] = {"Declared": Declared}


def resolve_weighting(named: Named) -> Weighting | UnusablePlugin:
    """Find a weighting; where it is unknown or breaks, say so instead of failing."""
    plugins = declared(WEIGHTINGS)
    if complaints := WEIGHTINGS.complaints(named, plugins):
        first = complaints[0]
        is_known = WEIGHTINGS.is_known(named, plugins)
        reason = Reason.WEIGHTING_FAILED if is_known else Reason.UNKNOWN_WEIGHTING
        return UnusablePlugin(first.message, first.help, reason)
    if built_in := BUILT_IN.get(named.name):
        return built_in()
    try:
        weighting: Weighting = make(
            WEIGHTINGS, named, lambda kind: kind(**named.options), needs=("step",)
        )
    except Refused as error:
        return UnusablePlugin(error.message, error.help, Reason.WEIGHTING_FAILED)
    return weighting


def weighting_complaints(
    manifests: Iterable[Manifest], *, but: Collection[str] = ()
) -> Iterator[Complaint]:
    """Say which Soups name a weighting of another package that breaks on being loaded.

    The operator loads a weighting into its own process; methods and evaluators bring torch, and
    are loaded where they run.

    Args:
        manifests: The objects that are given.
        but: Names that are not installed here, and are elsewhere.
    """
    for manifest in manifests:
        if not isinstance(manifest.object, Soup):
            continue
        named = manifest.object.spec.merge.weighting
        if named.name in but or WEIGHTINGS.complaints(named, declared(WEIGHTINGS)):
            continue  # Said already.
        found = resolve_weighting(named)
        if isinstance(found, UnusablePlugin):
            place = manifest.place("spec", "merge", "weighting", "name")
            yield Complaint(found.message, place=place, help=found.help)


def unusable_training(training: Training) -> UnusablePlugin | None:
    """Say why no shard can be trained as the soup asks, where a name or an option is wrong.

    The trainings themselves would say the same, each after its pod has started.
    """
    plugins = declared(METHODS)
    complaints = [
        *METHODS.complaints(training.method, plugins),
        *OPTIMIZERS.complaints(training.optimizer, {}),
    ]
    if not complaints:
        return None
    is_known = METHODS.is_known(training.method, plugins)
    reason = Reason.BAD_RUN_SPEC if is_known else Reason.UNKNOWN_METHOD
    return UnusablePlugin(complaints[0].message, complaints[0].help, reason)
