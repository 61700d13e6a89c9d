"""Make the soup of a recipe: from scratch, or from the sums of another, whichever moves less.

Both give the same bytes. Sums that are absent, doubtful, too heavy or too far away are no error:
then all ingredients are read. Sums are kept where the next merge would be the cheaper for them.
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
from stockpot.merging.checkpoints import Checkpoint
from stockpot.merging.engine import MergeSettings, Target, average
from stockpot.merging.formats import FORMATS, Format
from stockpot.merging.ingredients import Part, open_part
from stockpot.merging.layout import output_header, require_equal_layout, runs
from stockpot.merging.ledger import Ledger
from stockpot.merging.step import Step
from stockpot.merging.strategy import (
    MOST_AT_ONCE,
    is_cheaper,
    is_worth_keeping,
    named,
    step_between,
)
from stockpot.metrics.progress import Progress
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.weights import Weights, canonical_header, facts_of, layout_digest

Opener = Callable[[int], AbstractContextManager[Target]]
"""Opens what is written to, told how many bytes will come."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Desk:
    """Where and how a merge works."""

    soup: Opener
    """Where the soup is written to, as a canonical file."""
    sums: Path
    """Where sums are written to."""
    output: Format
    """What each element is rounded to, once."""
    settings: MergeSettings
    progress: Progress
    """Counts the bytes that are read."""
    stop: threading.Event
    """Ends it at the next block."""


@dataclass(frozen=True)
class Kept:
    """Sums that a merge goes by, and those that it leaves."""

    recipe: str
    """The digest of the recipe that is made."""
    step: Step
    old: Accumulator | None
    """None: all zero."""
    seal: str | None
    """Of the old ones."""


@dataclass(frozen=True)
class Soup:
    """A soup that was made."""

    weights: Weights
    way: MergeWay
    read_bytes: int
    """Of ingredients and of sums."""
    seal: Digest | None = None
    """Of the sums at `Desk.sums`; None: none are kept."""
    went_by: str | None = None
    """The folder of the sums that it was made from."""


def make(
    store: ObjectStore,
    keys: Keys,
    soup_uid: str,
    recipe: str,
    parts: Sequence[RecipePart],
    base: Digest,
    desk: Desk,
) -> Soup:
    """Make the soup of a recipe of at least one part.

    Args:
        store: Where the ingredients lie, and sums of other recipes.
        keys: Of the soup's namespace.
        soup_uid: Of the soup.
        recipe: Its digest.
        parts: Of the recipe.
        base: What all of them were trained from.
        desk: Where and how.

    Raises:
        Refused: An ingredient is not there, not the one that was named, or does not fit; or an
            element is too large for the output (exit 46).
    """
    candidate = nearest_sums(store, keys, soup_uid, {named(part): part for part in parts}, base)
    if candidate is not None:
        try:
            made = _from_sums(store, keys, recipe, candidate, base, desk)
        except Refused as error:
            # Of the sums, of an ingredient that left, or of one that is refused below as well.
            log.warning("the sums are not used: all is read", why=error.message)
        else:
            if made is not None:
                return made
    # The order is of no consequence to the bytes; that errors name the same part is nice.
    ordered = sorted(parts, key=lambda part: (part.weights_digest, part.weight))
    opened = [open_part(store, keys, part, base) for part in ordered]
    kept = _to_keep(recipe, ordered, opened[0], desk.output)
    weights, seal = merged(opened, [part.weight for part in opened], desk, kept)
    return Soup(weights, MergeWay.FROM_SCRATCH, _bytes_of(opened), seal)


def merge(parts: Sequence[Part], desk: Desk) -> Weights:
    """Write the mean of open parts, and keep nothing else.

    Raises:
        Refused: The parts do not fit, or one is not what was named; or an element is too large
            for the output (exit 46).
    """
    return merged(parts, [part.weight for part in parts], desk, None)[0]


def merged(
    parts: Sequence[Part], weights: Sequence[int], desk: Desk, kept: Kept | None
) -> tuple[Weights, Digest | None]:
    """Write the mean, and the sums where they are kept; each part is held to its digest."""
    checkpoints = [part.checkpoint for part in parts]
    hashed = [part.first_bytes for part in parts]

    def require(found: Sequence[Digest]) -> None:
        for part, digest in zip(parts, found, strict=True):
            part.require_digest(digest)

    return averaged(checkpoints, weights, desk, kept, hashed, require)


def averaged(
    checkpoints: Sequence[Checkpoint],
    weights: Sequence[int],
    desk: Desk,
    kept: Kept | None = None,
    hashed: Sequence[bytes] | None = None,
    require: Callable[[Sequence[Digest]], None] = lambda _: None,
) -> tuple[Weights, Digest | None]:
    """Write the mean of checkpoints, and the sums where they are kept."""
    require_equal_layout(checkpoints)
    header = output_header(checkpoints[0].tensors, desk.output)
    lying = runs(checkpoints, header)
    before = sum(len(data) for data in hashed or ())
    given_bytes = sum(
        source.size_bytes for checkpoint in checkpoints for source in checkpoint.sources
    )
    sums_bytes = kept.old.source.size_bytes if kept and kept.old else 0
    desk.progress.begin("merging", total_steps=given_bytes + sums_bytes)
    with ExitStack() as stack:
        target = stack.enter_context(desk.soup(header.size_bytes))
        ledger = None
        if kept is not None:
            run = lying[0]
            kernel = desk.settings.kernel
            ledger = Ledger(
                kept.old, kept.seal, kept.step, run.given, run.output, kernel, desk.sums
            )
            stack.callback(ledger.close)
        made = average(
            [checkpoint.name for checkpoint in checkpoints],
            weights,
            lying,
            header,
            target,
            desk.settings,
            hashed=hashed,
            # Sums are read in step with the ingredients.
            advance=lambda done: desk.progress.advance(
                before + done + sums_bytes * (before + done) // given_bytes
            ),
            stop=desk.stop,
            ledger=ledger,
        )
        require(made.inputs)
        seal = None
        if kept is not None and ledger is not None:
            layout = layout_digest(canonical_header(checkpoints[0].tensors))
            seal = ledger.finish(kept.recipe, layout, lying[0].elements)
    facts: TensorFacts = facts_of(header, desk.output.name, made.largest)
    return Weights(made.digest, header.size_bytes, header, facts), seal


def _from_sums(
    store: ObjectStore,
    keys: Keys,
    recipe: str,
    candidate: Candidate,
    base: Digest,
    desk: Desk,
) -> Soup | None:
    """Go by the sums of another recipe; None where that is not cheaper, or cannot be exact."""
    step, read = candidate.step, candidate.read
    # Sums are never smaller than two ingredients: most often this needs no look at them.
    if not is_cheaper(2, len(read), step.members, 1) or len(read) > MOST_AT_ONCE:
        return None
    old = candidate.opened(store)
    given = FORMATS[old.index.given]
    one_bytes = old.index.elements * given.item_bytes
    if not is_cheaper(old.source.size_bytes, len(read), step.members, one_bytes):
        return None
    if not step.fits(given, desk.output):
        return None
    opened = [open_part(store, keys, part, base) for part in read]
    layout = layout_digest(canonical_header(opened[0].checkpoint.tensors))
    if layout != old.index.layout:
        raise refused(old.source.name, "it is of ingredients of another layout")
    seal = candidate.manifest.digest
    kept = Kept(recipe, step, old, seal)
    weights, new_seal = merged(opened, [1] * len(opened), desk, kept)
    read_bytes = _bytes_of(opened) + old.source.size_bytes
    return Soup(weights, MergeWay.INCREMENTAL, read_bytes, new_seal, candidate.folder_key)


def _to_keep(recipe: str, parts: Sequence[RecipePart], first: Part, output: Format) -> Kept | None:
    """Decide whether sums are kept of a recipe that is made from scratch."""
    types = {dtype for _, dtype, _ in first.checkpoint.tensors}
    if len(types) > 1 or len(parts) > MOST_AT_ONCE:
        return None
    given = FORMATS[types.pop()]
    wanted = {named(part): part.weight for part in parts}
    step, read = step_between({}, wanted)
    if not is_worth_keeping(step.members, step.total, given) or not step.fits(given, output):
        return None
    order = [read.index(named(part)) for part in parts]
    weights = tuple(step.weights[at] for at in order)
    joins = tuple(step.joins[at] for at in order)
    return Kept(recipe, Step(1, 1, weights, joins, 0, step.total, step.members), None, None)


def _bytes_of(parts: Sequence[Part]) -> int:
    return sum(source.size_bytes for part in parts for source in part.checkpoint.sources)
