"""All fault points: where an unlearning is hit, and by what. Pure, so that they can be counted.

A point of the operator is before or after one of its actions; one of a verb is at its start, right
before a request to the store, or at its end. Each is held open by a gate until it was hit.
"""

import os
import random
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What happens."""

    KILL_LEADER = "kill-leader"
    """SIGKILL for the operator that leads."""
    KILL_WORKER = "kill-worker"
    """SIGKILL for the process that stands at the gate: a merge, a purge, a signing."""
    KILL_SERVER = "kill-server"
    KILL_STORE = "kill-store"
    KILL_API_SERVER = "kill-api-server"
    FREEZE_LEADER = "freeze-leader"
    """SIGSTOP for the leader, until another has led the deletion to its receipt; then SIGCONT."""
    CUT_LEADER = "cut-leader"
    """The leader reaches the API server no more, but servers; until another leads."""
    FREEZE_MERGE = "freeze-merge"
    """A merge with the shard is stopped before the deletion, and wakes up after it."""
    FREEZE_TRAINER = "freeze-trainer"
    """So is a training of a second shard that teaches the same, deleted as well."""
    WAKE_LATE = "wake-late"
    """A leader stops before it grants what is tainted, and wakes up after the receipt."""


SHUFFLE = 6


@dataclass(frozen=True)
class Point:
    """One run: this fault at this boundary."""

    fault: Fault
    where: str
    """`before:Action`, `after:Action`, or `verb:moment`."""

    def __str__(self) -> str:
        return f"{self.fault.value}@{self.where}"


ACTIONS = (
    *("Tombstone", "StartMerge", "RecordRevision", "Promote", "Prepare", "Commit"),
    *("StartPurge", "StartSigning", "RecordReceipt", "ForgetRevision", "Release"),
)
"""Of a deletion, in about the order in which they come."""
BEFORE = tuple(f"before:{action}" for action in ACTIONS)
AFTER = tuple(f"after:{action}" for action in ACTIONS)
MOMENTS = (
    *("merge:begins", "merge:publish-1", "merge:publish-2", "merge:ends"),
    *("purge:begins", "purge:tombstone-1", "purge:inventory-1", "purge:removal-1"),
    *("purge:removal-3", "purge:inventory-2", "purge:ends"),
    *("sign:begins", "sign:receipt-1", "sign:ends"),
)
"""Of the verbs that a deletion needs."""
INNER = ("merge:publish-1", "purge:tombstone-1", "purge:removal-1", "sign:receipt-1")
"""One in the midst of each verb, and the tombstone."""
PLACES: dict[Fault, tuple[str, ...]] = {
    Fault.KILL_LEADER: (*BEFORE, *AFTER, *INNER),
    Fault.KILL_WORKER: MOMENTS,
    Fault.KILL_SERVER: (*BEFORE, *INNER),
    Fault.KILL_STORE: MOMENTS,
    Fault.KILL_API_SERVER: (*BEFORE, *INNER),
    Fault.FREEZE_LEADER: BEFORE,
    Fault.CUT_LEADER: BEFORE,
    Fault.FREEZE_MERGE: ("merge:begins", "merge:publish-1", "merge:publish-2"),
    Fault.FREEZE_TRAINER: ("train:begins", "train:publish-1", "train:publish-2"),
    Fault.WAKE_LATE: ("before:Promote", "before:Prepare", "before:Commit"),
}


def needs_merge(where: str) -> bool:
    """Whether it is only reached where the survivors were never merged before."""
    return where.startswith("merge:") or where.endswith((":StartMerge", ":RecordRevision"))


def points() -> tuple[Point, ...]:
    """Give all of them, shuffled but always alike: the first few are of many kinds."""
    every = [Point(fault, where) for fault in Fault for where in PLACES[fault]]
    random.Random(SHUFFLE).shuffle(every)
    return tuple(every)


def chosen() -> tuple[Point, ...]:
    """Give those that are to be tried: CHAOS_POINTS has parts of their names, with commas."""
    parts = os.environ.get("CHAOS_POINTS", "").split(",")
    return tuple(point for point in points() if any(part in str(point) for part in parts))
