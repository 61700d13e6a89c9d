"""Makes the soup of a recipe: from scratch or from another recipe's sums, whichever moves less.

Both give the same bytes. Sums that are absent, doubtful, too heavy or too far away are no error:
the merge then reads all ingredients. It keeps sums where they make the next merge cheaper.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from stockpot.api.manifest import MergeWay, RecipePart, TensorFacts
from stockpot.core.digests import Digest
from stockpot.errors import Refused
from stockpot.merging.accumulator import Accumulator, refused
from stockpot.merging.accumulators import Candidate, nearest_sums
from stockpot.merging.checkpoints import OpenCheckpoint
from stockpot.merging.engine import average
from stockpot.merging.formats import FORMATS, Format
from stockpot.merging.incremental_sums import IncrementalSums
from stockpot.merging.ingredients import OpenIngredient, open_ingredient
from stockpot.merging.interfaces import MergeSettings, Target
from stockpot.merging.layout import find_runs, output_header, require_equal_layout
from stockpot.merging.step import Step
from stockpot.merging.strategy import (
    MOST_AT_ONCE,
    ingredient_key,
    is_cheaper,
    is_worth_keeping,
    step_between,
)
from stockpot.metrics.progress import Progress
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.weights import Weights, canonical_header, facts_of, layout_digest

TargetOpener = Callable[[int], AbstractContextManager[Target]]
"""Opens the output, given its size in bytes."""

log = structlog.get_logger()


@dataclass(frozen=True)
class MergeContext:
    """The outputs, settings and progress of one merge."""

    soup: TargetOpener
    """Opens the output for the soup, a canonical file."""
    sums: Path
    """The file that sums are written to."""
    output: Format
    """What each element is rounded to, once."""
    settings: MergeSettings
    progress: Progress
    """Counts the bytes that are read."""
    stop: threading.Event
    """Ends the merge at the next block."""


@dataclass(frozen=True)
class SumsPlan:
    """The sums that a merge starts from, and the step to those that it keeps."""

    recipe: str
    """The digest of the recipe that is merged."""
    step: Step
    old: Accumulator | None
    """None stands for sums of zero."""
    seal: str | None
    """The seal of the old sums."""


@dataclass(frozen=True)
class MergedSoup:
    """The result of a merge."""

    weights: Weights
    way: MergeWay
    read_bytes: int
    """Bytes of ingredients and sums that were read."""
    seal: Digest | None = None
    """The seal of the sums at `MergeContext.sums`; None if none are kept."""
    sums_used: str | None = None
    """The folder of the sums that the merge started from."""


def make(
    store: ObjectStore,
    keys: Keys,
    soup_uid: str,
    recipe: str,
    parts: Sequence[RecipePart],
    base: Digest,
    context: MergeContext,
) -> MergedSoup:
    """Make the soup of a recipe of at least one part.

    Args:
        store: Holds the ingredients, and sums of other recipes.
        keys: The keys of the soup's namespace.
        soup_uid: The UID of the soup.
        recipe: The digest of the recipe.
        parts: The parts of the recipe.
        base: The base that all ingredients were trained from.
        context: Outputs, settings and progress.

    Raises:
        Refused: An ingredient is missing, has another digest than the recipe names, or does not
            fit; or an element is too large for the output (exit 46).
    """
    candidate = nearest_sums(
        store, keys, soup_uid, {ingredient_key(part): part for part in parts}, base
    )
    if candidate is not None:
        try:
            made = _from_sums(store, keys, recipe, candidate, base, context)
        except Refused as error:
            # The error is about the sums, an ingredient that left, or one that is refused below.
            log.warning("sums are not used, all ingredients are read", why=error.message)
        else:
            if made is not None:
                return made
    # The bytes do not depend on the order; sorted, errors name the same part each time.
    ordered = sorted(parts, key=lambda part: (part.weights_digest, part.weight))
    opened = [open_ingredient(store, keys, part, base) for part in ordered]
    plan = _plan_to_keep(recipe, ordered, opened[0], context.output)
    weights, seal = write_ingredients_mean(opened, [part.weight for part in opened], context, plan)
    return MergedSoup(weights, MergeWay.FROM_SCRATCH, _bytes_of(opened), seal)


def merge(parts: Sequence[OpenIngredient], context: MergeContext) -> Weights:
    """Write the mean of open ingredients, and keep no sums.

    Raises:
        Refused: The ingredients do not fit each other, or one has another digest than was named;
            or an element is too large for the output (exit 46).
    """
    return write_ingredients_mean(parts, [part.weight for part in parts], context, None)[0]


def write_ingredients_mean(
    parts: Sequence[OpenIngredient],
    weights: Sequence[int],
    context: MergeContext,
    plan: SumsPlan | None,
) -> tuple[Weights, Digest | None]:
    """Write the mean, and sums if there is a plan; check each ingredient's digest."""
    checkpoints = [part.checkpoint for part in parts]
    hashed = [part.first_bytes for part in parts]

    def require(digests: Sequence[Digest]) -> None:
        for part, digest in zip(parts, digests, strict=True):
            part.require_digest(digest)

    return write_mean(checkpoints, weights, context, plan, hashed, require)


def write_mean(
    checkpoints: Sequence[OpenCheckpoint],
    weights: Sequence[int],
    context: MergeContext,
    plan: SumsPlan | None = None,
    hashed: Sequence[bytes] | None = None,
    require: Callable[[Sequence[Digest]], None] = lambda _: None,
) -> tuple[Weights, Digest | None]:
    """Write the mean of checkpoints, and sums if there is a plan."""
    require_equal_layout(checkpoints)
    header = output_header(checkpoints[0].tensors, context.output)
    runs = find_runs(checkpoints, header)
    before = sum(len(data) for data in hashed or ())
    given_bytes = sum(
        source.size_bytes for checkpoint in checkpoints for source in checkpoint.sources
    )
    sums_bytes = plan.old.source.size_bytes if plan and plan.old else 0
    context.progress.begin("merging", total_steps=given_bytes + sums_bytes)
    with ExitStack() as stack:
        target = stack.enter_context(context.soup(header.size_bytes))
        sums = None
        if plan is not None:
            run = runs[0]
            kernel = context.settings.kernel
            sums = IncrementalSums(
                plan.old, plan.seal, plan.step, run.given, run.output, kernel, context.sums
            )
            stack.callback(sums.close)
        made = average(
            [checkpoint.name for checkpoint in checkpoints],
            weights,
            runs,
            header,
            target,
            context.settings,
            hashed=hashed,
            # Sums are read at the pace of the ingredients.
            advance=lambda done: context.progress.advance(
                before + done + sums_bytes * (before + done) // given_bytes
            ),
            stop=context.stop,
            sums_hook=sums,
        )
        require(made.inputs)
        seal = None
        if plan is not None and sums is not None:
            layout = layout_digest(canonical_header(checkpoints[0].tensors))
            seal = sums.finish(plan.recipe, layout, runs[0].elements)
    facts: TensorFacts = facts_of(header, context.output.name, made.largest)
    return Weights(made.digest, header.size_bytes, header, facts), seal


def _from_sums(
    store: ObjectStore,
    keys: Keys,
    recipe: str,
    candidate: Candidate,
    base: Digest,
    context: MergeContext,
) -> MergedSoup | None:
    """Start from the sums of another recipe; None if that is not cheaper or cannot be exact."""
    step, read = candidate.step, candidate.read
    # Sums are never smaller than two ingredients: this decides most cases without reading them.
    if not is_cheaper(2, len(read), step.members, 1) or len(read) > MOST_AT_ONCE:
        return None
    old = candidate.opened(store)
    given = FORMATS[old.index.given]
    ingredient_bytes = old.index.elements * given.item_bytes
    if not is_cheaper(old.source.size_bytes, len(read), step.members, ingredient_bytes):
        return None
    if not step.fits(given, context.output):
        return None
    opened = [open_ingredient(store, keys, part, base) for part in read]
    layout = layout_digest(canonical_header(opened[0].checkpoint.tensors))
    if layout != old.index.layout:
        raise refused(old.source.name, "it sums ingredients of another layout")
    seal = candidate.manifest.digest
    plan = SumsPlan(recipe, step, old, seal)
    weights, new_seal = write_ingredients_mean(opened, [1] * len(opened), context, plan)
    read_bytes = _bytes_of(opened) + old.source.size_bytes
    return MergedSoup(weights, MergeWay.INCREMENTAL, read_bytes, new_seal, candidate.folder_key)


def _plan_to_keep(
    recipe: str, parts: Sequence[RecipePart], first: OpenIngredient, output: Format
) -> SumsPlan | None:
    """Plan which sums a merge from scratch keeps; None if it keeps none."""
    types = {dtype for _, dtype, _ in first.checkpoint.tensors}
    if len(types) > 1 or len(parts) > MOST_AT_ONCE:
        return None
    given = FORMATS[types.pop()]
    wanted = {ingredient_key(part): part.weight for part in parts}
    step, read = step_between({}, wanted)
    if not is_worth_keeping(step.members, step.total, given) or not step.fits(given, output):
        return None
    order = [read.index(ingredient_key(part)) for part in parts]
    weights = tuple(step.weights[at] for at in order)
    joins = tuple(step.joins[at] for at in order)
    return SumsPlan(recipe, Step(1, 1, weights, joins, 0, step.total, step.members), None, None)


def _bytes_of(parts: Sequence[OpenIngredient]) -> int:
    return sum(source.size_bytes for part in parts for source in part.checkpoint.sources)
