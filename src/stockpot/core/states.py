"""The one word for the state of a shard, a target or a soup, from what blocks its next stage."""

from collections.abc import Mapping

from stockpot.api.conditions import Reason
from stockpot.api.states import ShardState, SoupState
from stockpot.core.checks import Assessment
from stockpot.core.recipe import Recipe
from stockpot.core.shard import Shard
from stockpot.core.soup_readiness import HELD_BACK, SoupReadiness
from stockpot.core.stages import PendingStage, Stage
from stockpot.core.unlearning_target import UnlearningTarget


def shard_state(shard: Shard, pending: PendingStage | None, assessment: Assessment) -> ShardState:
    """Derive the state of a shard that lives."""
    if pending and pending.blocker.needs_person:
        return ShardState.STALLED
    promoted = assessment.inputs.world.serving_recipe or Recipe()
    if shard.is_in(promoted.lineage):
        return ShardState.INCLUDED
    if pending and pending.blocker.reason in HELD_BACK:
        return ShardState.HELD
    if pending and pending.blocker.reason is Reason.QUEUED:
        return ShardState.QUEUED
    if not shard.usable_training:
        is_training = pending and pending.blocker.reason is Reason.TRAINING
        return ShardState.TRAINING if is_training else ShardState.PENDING
    if not shard.included:
        return ShardState.EXCLUDED
    return ShardState.TRAINED if pending else ShardState.WEIGHTLESS


def target_state(target: UnlearningTarget, pending: PendingStage | None) -> ShardState:
    """Derive the state of what is unlearned: after its receipt only an expired object is left."""
    is_unlearned = pending is None and not target.is_being_deleted
    return ShardState.EXPIRED if is_unlearned else ShardState.UNLEARNING


SOUP_STATES: Mapping[Reason, SoupState] = {
    Reason.NO_SHARDS: SoupState.PENDING,
    Reason.HELD_BY_SUSPEND: SoupState.HELD,
    Reason.HELD_BY_MIN_SHARDS: SoupState.HELD,
    Reason.NOT_MERGED: SoupState.MERGING,
    Reason.MERGING: SoupState.MERGING,
    Reason.ROLLING_OUT: SoupState.ROLLING_OUT,
    Reason.SERVER_NOT_RUNNING: SoupState.ROLLING_OUT,
    Reason.SERVER_FAILED: SoupState.ROLLING_OUT,
}
"""States of a soup by the reason for which it is not Ready; the others are on the way into it."""

BEFORE_A_MERGE = frozenset({Stage.HELD, Stage.TRAINED, Stage.COMPARED})


def soup_state(readiness: SoupReadiness, assessment: Assessment, *, unlearns: bool) -> SoupState:
    """Derive the state of a soup.

    Args:
        readiness: What is missing until it is Ready.
        assessment: The assessment that this was derived from.
        unlearns: Whether anything is still being unlearned.
    """
    if assessment.inputs.world.soup.is_being_deleted:
        return SoupState.DELETING
    if readiness.stuck:
        return SoupState.STALLED
    if readiness.in_progress:
        return SOUP_STATES.get(readiness.in_progress.reason) or _on_the_way(assessment)
    if unlearns:
        return SoupState.UNLEARNING
    return SoupState.HELD if readiness.held else SoupState.SERVING


def _on_the_way(assessment: Assessment) -> SoupState:
    """Return how far the shards are that come: a merge waits for those that are behind it."""
    stages = {pending.stage for pending in assessment.pending.values() if pending}
    return SoupState.TRAINING if stages & BEFORE_A_MERGE else SoupState.MERGING
