"""The stages of learning and unlearning, and the input of their checks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

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

    @cached_property
    def reweighted(self) -> frozenset[ShardUID]:
        """Shards whose weights are to change, relative to those of the others that stay.

        A shard that joins or leaves changes none of them: it dilutes all others alike.
        """
        promoted = self.world.serving_recipe
        if isinstance(self.recipe, Blocker) or promoted is None or promoted == self.recipe:
            return frozenset()
        now = {part.ingredient: part.weight for part in promoted.parts}
        pairs = [
            (part.ingredient.shard, part.weight, now[part.ingredient])
            for part in self.recipe.parts
            if part.ingredient in now
        ]
        wanted = sum(weight for _, weight, _ in pairs)
        served = sum(weight for _, _, weight in pairs)
        return frozenset(uid for uid, new, old in pairs if new * served != old * wanted)

    def stops_waiting(self, target: UnlearningTarget) -> bool:
        """Whether the target no longer waits for what does not answer, and its receipt says so.

        That happens once: after an Incomplete receipt it waits without a limit.
        """
        return (target.uid in self.overdue or target.is_forced) and not target.incomplete


LearningCheck = Callable[[Shard, CheckInput], Blocker | None]
UnlearningCheck = Callable[[UnlearningTarget, CheckInput], Blocker | None]
