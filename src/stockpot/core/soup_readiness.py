"""Whether a Soup is Ready: what is in progress, what waits for a person, and what is held back.

Ready is as narrow as people read it: every shard that the soup should include is served, with the
weight it should have. A soup that only holds newcomers back, as its spec asks, is Ready.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stockpot.api.conditions import Reason
from stockpot.core.blocker import Blocker
from stockpot.core.checks import Assessment
from stockpot.core.membership import is_weightless
from stockpot.core.recipe import Recipe
from stockpot.core.shard import Shard
from stockpot.core.stages import PendingStage, Stage

HELD_BACK = frozenset({Reason.HELD_BY_SUSPEND, Reason.HELD_BY_MIN_SHARDS})
"""Reasons for which a soup holds shards back for as long as its spec asks for that."""


@dataclass(frozen=True)
class SoupReadiness:
    """What is missing until a soup is Ready; nothing is where neither of the first two is set."""

    in_progress: Blocker | None = None
    """What changes by itself: the condition Reconciling."""
    stuck: Blocker | None = None
    """What waits for a person: the condition Stalled."""
    held: Blocker | None = None
    """Which shards are held back, and why: the condition MembersHeld."""

    @property
    def missing(self) -> Blocker | None:
        """Why the soup is not Ready; what waits for a person comes first."""
        return self.stuck or self.in_progress


def soup_readiness(assessment: Assessment) -> SoupReadiness:
    """Derive what is missing until the soup is Ready, from the stages of all its shards."""
    world = assessment.inputs.world
    if world.soup.is_being_deleted:
        return _of_blocker(assessment.soup)
    pending = [
        (shard, stage)
        for shard in world.shards
        if shard.included and (stage := assessment.pending[shard.uid])
    ]
    held = _of_shards(
        [each for each in pending if each[1].blocker.reason in HELD_BACK], "held back"
    )
    stuck = _of_shards([each for each in pending if each[1].blocker.needs_person], "not served")
    waiting = _of_shards([each for each in pending if _is_on_its_way(each[1])], "not served yet")
    soup = _of_blocker(assessment.soup)
    return SoupReadiness(
        in_progress=soup.in_progress or waiting or _never_served(assessment, held, stuck),
        stuck=soup.stuck or _unusable_plugin(assessment) or stuck,
        held=held,
    )


def _of_blocker(blocker: Blocker | None) -> SoupReadiness:
    if blocker is None:
        return SoupReadiness()
    is_stuck = blocker.needs_person
    return SoupReadiness(stuck=blocker) if is_stuck else SoupReadiness(in_progress=blocker)


def _is_on_its_way(pending: PendingStage) -> bool:
    """Whether a shard will be served without anybody's help. The last stage is the soup's own."""
    blocker = pending.blocker
    moves = not blocker.needs_person and blocker.reason not in HELD_BACK
    return moves and pending.stage is not Stage.SERVED


def _of_shards(pending: Sequence[tuple[Shard, PendingStage]], what: str) -> Blocker | None:
    """Return what keeps some shards, in the words of the one that is farthest behind.

    So the reason changes, and an Event follows, when all shards have got on, not with each of them.
    """
    if not pending:
        return None
    _, stage = min(pending, key=_place)
    number = "1 shard is" if len(pending) == 1 else f"{len(pending)} shards are"
    names = listed(shard.name for shard, _ in pending)
    message = f"{number} {what} ({names}): {stage.blocker.message}"
    return replace(stage.blocker, message=message)


def _place(pending: tuple[Shard, PendingStage]) -> tuple[int, bool, str]:
    """Order shards by their stage; of those to be trained the ones that are trained come first."""
    shard, stage = pending
    waits = stage.blocker.reason is not Reason.TRAINING
    return list(Stage).index(stage.stage), waits, shard.name


def _unusable_plugin(assessment: Assessment) -> Blocker | None:
    """Return what the spec names that is not installed, with the names that are."""
    soup = assessment.inputs.world.soup
    unusable = soup.unknown or soup.unusable_evaluation
    if unusable is None:
        return None
    return Blocker(unusable.reason, unusable.message, unusable.help, needs_person=True)


def _never_served(
    assessment: Assessment, held: Blocker | None, stuck: Blocker | None
) -> Blocker | None:
    """Return that no shard was ever served, where that is not what the weights ask for."""
    inputs = assessment.inputs
    world = inputs.world
    promoted = world.serving_recipe or Recipe()
    if stuck or world.soup.promotions or not promoted.is_base:
        return None
    if is_weightless(inputs.survivors, inputs.admission.members):
        return None
    if held:
        return held
    shards = len(world.shards)
    have = f"all of its {shards} DataShards are Excluded" if shards else "it has no DataShard"
    return Blocker(
        Reason.NO_SHARDS,
        f"no shard of Soup {world.soup.name} was ever served: {have}",
        f"apply a DataShard with soupRef.name: {world.soup.name}",
    )


def listed(names: Iterable[str]) -> str:
    """Format names for a message: the first five in order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - 5
    return ", ".join(ordered[:5]) + (f" and {more} more" if more > 0 else "")
