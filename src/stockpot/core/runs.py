"""One run: a pod or process that trains, merges, evaluates, purges or signs."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from stockpot.api.conditions import Reason
from stockpot.api.runspec import RunResult
from stockpot.core.recipe import Lineage, ShardUID

RunName = NewType("RunName", str)


@dataclass(frozen=True)
class Failure:
    """How a run failed."""

    exit_code: int | None
    """None: it was killed, or its node was lost."""
    message: str
    help: str = ""
    at: datetime | None = None
    """When it ended. None: nobody waits before it is tried again."""

    @property
    def is_final(self) -> bool:
        """Whether the same run would fail the same way again."""
        return self.exit_code is not None and (
            42 <= self.exit_code <= 49 or self.exit_code in {1, 2, 3}
        )


@dataclass(frozen=True)
class StartupBlocker:
    """Why something that was asked for cannot go on, though it has not failed: a person must act.

    An image that cannot be pulled, a Secret that is not there, a pod that fits nowhere.
    """

    reason: Reason
    message: str
    help: str = ""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is, as it says itself."""

    step: int
    total_steps: int
    loss: str = ""
    """The last one, as a decimal string; empty where none was told."""
    phase: str = ""
    """A word or two for people: `encoding`, `training`, `publishing`."""


@dataclass(frozen=True)
class Run:
    """One workload: asked for once, under a name that says what it does."""

    name: RunName
    lineage: Lineage = frozenset()
    """What it may write."""
    result: RunResult | None = None
    failure: Failure | None = None
    hindrance: StartupBlocker | None = None
    """Only of one that is active."""
    advance: TrainingProgress | None = None
    ended_at: datetime | None = None
    """Of one with a result. None: nobody waits before it is looked at again."""
    about: frozenset[ShardUID] = frozenset()
    """UIDs of the shards that it trains, purges or signs for; names of runs shorten them."""

    @property
    def is_active(self) -> bool:
        """Whether it may still do something."""
        return self.result is None and self.failure is None
