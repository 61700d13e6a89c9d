"""The stages of learning and unlearning, and the input of their checks."""

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
    """A stage of a shard, or of an unlearning target."""

    HELD = "Held"
    TRAINED = "Trained"
    COMPARED = "Compared"
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
    """The first stage that a shard or target has not reached, and what blocks it."""

    stage: Stage
    blocker: Blocker


@dataclass(frozen=True)
class CheckInput:
    """Input of a check: the world, and what was decided about the soup as a whole."""

    world: World
    admission: Admission
    recipe: Recipe | Blocker
    survivors: Recipe | Blocker = field(default_factory=Recipe)
    """The recipe without the targets; differs from `recipe` only after a deadline passed."""
    receipt_chain_diverged: Blocker | None = None
    """Why it is unknown what may be served: store and objects have different receipts."""
    overdue: frozenset[ShardUID] = frozenset()
    """Targets whose unlearning takes longer than it may."""

    def stops_waiting(self, target: UnlearningTarget) -> bool:
        """Whether the target no longer waits for what does not answer, and its receipt says so.

        That happens once: after an Incomplete receipt it waits without a limit.
        """
        return (target.uid in self.overdue or target.is_forced) and not target.incomplete


LearningCheck = Callable[[Shard, CheckInput], Blocker | None]
UnlearningCheck = Callable[[UnlearningTarget, CheckInput], Blocker | None]
