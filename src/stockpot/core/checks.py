"""The two ladders of checks, and the assessment of a soup that comes of them.

A shard climbs a ladder towards being served; an unlearning target climbs one towards its receipt.
The stage of each is the first check that the world does not show, searched from the first
at every round. So a late writer, a server that comes back or a crash needs no case of its own: the
shard or target is simply found on the stage that broke.

    shard     HELD → TRAINED → COMPARED → INCLUDED → SERVED
    target    TOMBSTONED → EXCLUDED → ROLLED_OUT → QUIESCED → PURGED → VERIFIED → RECEIPTED
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stockpot.core import comparison_stage, learning_checks, unlearning_checks
from stockpot.core.blocker import Blocker
from stockpot.core.recipe import ShardUID
from stockpot.core.shard import Shard
from stockpot.core.stages import (
    CheckInput,
    LearningCheck,
    PendingStage,
    Stage,
    UnlearningCheck,
)
from stockpot.core.unlearning_target import UnlearningTarget

LEARNING: Mapping[Stage, LearningCheck] = {
    Stage.HELD: learning_checks.held,
    Stage.TRAINED: learning_checks.trained,
    Stage.COMPARED: comparison_stage.compared,
    Stage.INCLUDED: learning_checks.included,
    Stage.SERVED: learning_checks.served,
}

UNLEARNING: Mapping[Stage, UnlearningCheck] = {
    Stage.TOMBSTONED: unlearning_checks.tombstoned,
    Stage.EXCLUDED: unlearning_checks.excluded,
    Stage.ROLLED_OUT: unlearning_checks.rolled_out,
    Stage.QUIESCED: unlearning_checks.quiesced,
    Stage.PURGED: unlearning_checks.purged,
    Stage.VERIFIED: unlearning_checks.verified,
    Stage.RECEIPTED: unlearning_checks.receipted,
}


def pending_learning_stage(shard: Shard, inputs: CheckInput) -> PendingStage | None:
    """Find the first stage that the world does not show yet. None: the shard is at the top."""
    for stage, check in LEARNING.items():
        if blocker := check(shard, inputs):
            return PendingStage(stage, blocker)
    return None


def pending_unlearning_stage(target: UnlearningTarget, inputs: CheckInput) -> PendingStage | None:
    """Find the first stage that the world does not show yet. None: the target is at the top."""
    if unlearning_checks.is_unlearned(target, inputs.world):
        return None
    for stage, check in UNLEARNING.items():
        if blocker := check(target, inputs):
            return PendingStage(stage, blocker)
    return None


@dataclass(frozen=True)
class Assessment:
    """Stages of a soup, its shards and its targets, and what blocks each."""

    inputs: CheckInput
    pending: Mapping[ShardUID, PendingStage | None]
    soup: Blocker | None
    """Why the soup as a whole is not merged, promoted and served."""
    due_at: datetime | None = None
    """When time alone changes something: a shard expires, a run is tried again, and so on."""

    @property
    def wake_at(self) -> datetime | None:
        """Return when the next round is due, even without any event."""
        blockers = (self.soup, *(pending.blocker for pending in self.pending.values() if pending))
        times = (
            self.inputs.admission.wake_at,
            *(blocker.wake_at for blocker in blockers if blocker),
        )
        return min((time for time in times if time), default=None)
