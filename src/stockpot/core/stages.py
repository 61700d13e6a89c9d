"""The ladder that a shard climbs: its rungs, and what a check may look at. Decides nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from stockpot.core.blocker import Blocker
from stockpot.core.membership import Admission
from stockpot.core.recipe import Recipe, ShardUID
from stockpot.core.shard import Shard
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.world import World


class Stage(StrEnum):
    """A rung of a shard's ladder."""

    HELD = "Held"
    TRAINED = "Trained"
    INCLUDED = "Included"
    SERVED = "Served"
    TOMBSTONED = "Tombstoned"
    EXCLUDED = "Excluded"
    ROLLED_OUT = "RolledOut"
    QUIESCED = "Quiesced"
    PURGED = "Purged"
    VERIFIED = "Verified"
    RECEIPTED = "Receipted"


@dataclass(frozen=True)
class PendingStage:
    """The next stage of a shard or target, and what it still lacks."""

    stage: Stage
    blocker: Blocker


@dataclass(frozen=True)
class CheckInput:
    """What a check may look at: the world, and what was decided about the soup as a whole."""

    world: World
    admission: Admission
    recipe: Recipe | Blocker
    survivors: Recipe | Blocker = field(default_factory=Recipe)
    """What is to be served in the end: another recipe only while a deadline has passed."""
    receipt_chain_diverged: Blocker | None = None
    """Why nobody can say what may be served: store and objects know different receipts."""
    overdue: frozenset[ShardUID] = frozenset()
    """Targets whose unlearning takes longer than it may."""

    def stops_waiting(self, target: UnlearningTarget) -> bool:
        """Whether it no longer waits for what does not answer, and a receipt is to say so.

        Once: after an Incomplete receipt it waits for as long as it takes.
        """
        return (target.uid in self.overdue or target.is_forced) and not target.incomplete


LearningCheck = Callable[[Shard, CheckInput], Blocker | None]
UnlearningCheck = Callable[[UnlearningTarget, CheckInput], Blocker | None]
