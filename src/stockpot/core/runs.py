"""One run: a pod or process that trains, merges, evaluates, purges or signs."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from stockpot.api.conditions import Reason
from stockpot.api.results import RunResult
from stockpot.api.run_kinds import RunKind
from stockpot.core.recipe import Lineage, ShardUID
from stockpot.errors import FINAL_EXIT_CODES

RunName = NewType("RunName", str)


@dataclass(frozen=True)
class Failure:
    """How a run failed."""

    exit_code: int | None
    """Exit code; None where the run was killed, or its node was lost."""
    message: str
    help: str = ""
    at: datetime | None = None
    """When the run ended. None disables backoff (local mode)."""
    is_of_resource: bool = False
    """Whether the run lacked memory or disk: with other settings it may succeed."""

    @property
    def is_final(self) -> bool:
        """Whether the same run would fail the same way again."""
        return self.exit_code in FINAL_EXIT_CODES or self.exit_code in {1, 2, 3}


@dataclass(frozen=True)
class StartupBlocker:
    """Why a run or server cannot start, though it has not failed.

    A person must act, for example where an image cannot be pulled, a Secret is missing or a pod
    fits on no node; not where the reason is Queued.
    """

    reason: Reason
    message: str
    help: str = ""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is, as it reports."""

    step: int
    total_steps: int
    loss: str = ""
    """Last loss as a decimal string; empty where there is none."""
    phase: str = ""
    """Phase of the run, as `encoding`, `training` or `publishing`."""


@dataclass(frozen=True)
class Run:
    """One workload. Its name says what it does, so it is started once."""

    name: RunName
    kind: RunKind
    lineage: Lineage = frozenset()
    """Lineage of the artifacts that it may write."""
    result: RunResult | None = None
    failure: Failure | None = None
    startup_blocker: StartupBlocker | None = None
    """What keeps an active run from starting."""
    progress: TrainingProgress | None = None
    ended_at: datetime | None = None
    """When a run with a result ended. None disables backoff (local mode)."""
    is_outdated: bool = False
    """Whether the admin's settings would make another pod of it now."""
    about: frozenset[ShardUID] = frozenset()
    """UIDs that it trains, purges or signs for, in full: names of runs shorten them."""

    @property
    def stem(self) -> str:
        """Name of the run without the number of the attempt."""
        return self.name.rpartition("-")[0]

    @property
    def is_active(self) -> bool:
        """Whether the run may still write something."""
        return self.result is None and self.failure is None

    @property
    def is_cured(self) -> bool:
        """Whether a setting was changed that the run waits or failed for.

        What waits for a queue, or for a node that may still run it, is left where it is.
        """
        waits = self.startup_blocker and self.startup_blocker.reason not in KEEPS_ITS_PLACE
        lacked = self.failure and self.failure.is_of_resource
        return self.is_outdated and bool(waits or lacked)


KEEPS_ITS_PLACE = frozenset({Reason.QUEUED, Reason.NODE_LOST})
"""Blockers of a run that no setting of the chart removes."""
