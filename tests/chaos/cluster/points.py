"""All fault points: where an unlearning is hit, and by what. Pure, so that they can be counted.

A point of the operator is before or after one of its actions; one of a verb is at its start, right
before a request to the store, or at its end. Each is held open by a gate until it was hit.
"""

import os
import random
from collections.abc import Sequence
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
    FILL_STORE = "fill-store"
    """The disk of the store is full, for a while: it can be read, and keeps nothing new."""
    KILL_API_SERVER = "kill-api-server"
    FREEZE_LEADER = "freeze-leader"
    """SIGSTOP for the leader, until another has led the deletion to its receipt; then SIGCONT."""
    CUT_LEADER = "cut-leader"
    """The leader reaches the API server no more, but servers; until another leads."""
    FREEZE_MERGE = "freeze-merge"
    """A merge with the shard is stopped before the deletion, and wakes up after it."""
    FREEZE_TRAINER = "freeze-trainer"
    """It includes a training of a second shard that teaches the same, deleted as well."""
    WAKE_LATE = "wake-late"
    """A leader stops before it grants what is tainted, and wakes up after the receipt."""
    ANSWER_409 = "answer-409"
    """The API server says to the operators, for a while: somebody else wrote in between."""
    ANSWER_410 = "answer-410"
    """Their watches are cut off, and begin anew: what they saw last is forgotten."""
    ANSWER_429 = "answer-429"
    ANSWER_500 = "answer-500"
    LOSE_ANSWERS = "lose-answers"
    """What they write is done, and they are told that it may not be."""
    DELAY_WATCHES = "delay-watches"
    """They are told of nothing for a while."""
    DELAY_LISTS = "delay-lists"
    """What they list is as old as a while when it comes, and what they watch goes on before."""


TROUBLES = {
    Fault.ANSWER_409: "409",
    Fault.ANSWER_410: "410",
    Fault.ANSWER_429: "429",
    Fault.ANSWER_500: "500",
    Fault.LOSE_ANSWERS: "lost",
    Fault.DELAY_WATCHES: "late",
    Fault.DELAY_LISTS: "old",
}
"""Faults of the way to the API server, as `between` knows them."""
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
    *("RecordDeletion", "StartMerge", "RecordRevision", "Promote", "Prepare", "Commit"),
    *("StartPurge", "StartSigning", "RecordReceipt", "ForgetRevision", "ReleaseShard"),
)
"""Stages of a deletion, in about the order in which they come."""
BEFORE = tuple(f"before:{action}" for action in ACTIONS)
AFTER = tuple(f"after:{action}" for action in ACTIONS)
MOMENTS = (
    *("merge:begins", "merge:publish-1", "merge:publish-2", "merge:ends"),
    *("purge:begins", "purge:tombstone-1", "purge:inventory-1", "purge:removal-1"),
    *("purge:removal-3", "purge:inventory-2", "purge:ends"),
    *("sign:begins", "sign:receipt-1", "sign:ends"),
)
"""Boundaries of the verbs that a deletion needs."""
WRITES = (
    *("merge:begins", "merge:publish-1", "purge:tombstone-1", "purge:inventory-1"),
    *("purge:inventory-2", "sign:receipt-1"),
)
"""Right before something is to be stored."""
INNER = ("merge:publish-1", "purge:tombstone-1", "purge:removal-1", "sign:receipt-1")
"""One in the midst of each verb, and the tombstone."""
TROUBLED = tuple(
    f"before:{action}"
    for action in (
        "RecordDeletion",
        "RecordRevision",
        "Promote",
        "StartPurge",
        "RecordReceipt",
        "ReleaseShard",
    )
)
"""Those actions that write what the next one goes by."""
PLACES: dict[Fault, tuple[str, ...]] = {
    Fault.KILL_LEADER: (*BEFORE, *AFTER, *INNER),
    Fault.KILL_WORKER: MOMENTS,
    Fault.KILL_SERVER: (*BEFORE, *INNER),
    Fault.KILL_STORE: MOMENTS,
    Fault.FILL_STORE: WRITES,
    Fault.KILL_API_SERVER: (*BEFORE, *INNER),
    Fault.FREEZE_LEADER: BEFORE,
    Fault.CUT_LEADER: BEFORE,
    Fault.FREEZE_MERGE: ("merge:begins", "merge:publish-1", "merge:publish-2"),
    Fault.FREEZE_TRAINER: ("train:begins", "train:publish-1", "train:publish-2"),
    Fault.WAKE_LATE: ("before:Promote", "before:Prepare", "before:Commit"),
    **dict.fromkeys(TROUBLES, TROUBLED),
}


FROZEN_LATE = (Fault.FREEZE_MERGE, Fault.FREEZE_TRAINER)
STRUCK_FIRST = (*FROZEN_LATE, Fault.WAKE_LATE)
"""Struck before the deletion."""
LASTING = ({Fault.FREEZE_LEADER, Fault.CUT_LEADER}, {Fault.KILL_SERVER})
"""A deletion has at most one of each: two operators are all there are, and the kubelet
starts a server that was killed twice ever later."""
AT_ONCE = {"after:StartMerge": "merge", "after:StartPurge": "purge", "after:StartSigning": "sign"}
"""A run that was begun goes on while the leader stands at a gate: what comes first is not known."""
ORDER = (
    *("before:RecordDeletion", "after:RecordDeletion", "before:StartMerge", "after:StartMerge"),
    *(moment for moment in MOMENTS if moment.startswith("merge:")),
    *("before:RecordRevision", "after:RecordRevision", "before:Promote", "after:Promote"),
    *("before:Prepare", "after:Prepare", "before:ForgetRevision", "after:ForgetRevision"),
    *("before:Commit", "after:Commit", "before:StartPurge", "after:StartPurge"),
    *(moment for moment in MOMENTS if moment.startswith("purge:")),
    *("before:StartSigning", "after:StartSigning"),
    *(moment for moment in MOMENTS if moment.startswith("sign:")),
    *("before:RecordReceipt", "after:RecordReceipt", "before:ReleaseShard", "after:ReleaseShard"),
)
"""In which order a deletion comes to them."""


@dataclass(frozen=True)
class Course:
    """One deletion, and the points that hit it, in the order in which it comes to them."""

    points: tuple[Point, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.points))

    @property
    def faults(self) -> frozenset[Fault]:
        """All that happens in it."""
        return frozenset(point.fault for point in self.points)

    @property
    def needs_merge(self) -> bool:
        """Whether the survivors must not have been merged before."""
        return any(needs_merge(point.where) for point in self.points)

    def takes(self, point: Point) -> bool:
        """Whether the point can hit it as well."""
        wheres = {point_.where for point_ in self.points}
        lasts = any(point.fault in faults and self.faults & faults for faults in LASTING)
        alone = point.fault in STRUCK_FIRST or self.faults & set(STRUCK_FIRST)
        at_once = any(
            begun in both and any(where.startswith(f"{verb}:") for where in both)
            for begun, verb in AT_ONCE.items()
            for both in [{*wheres, point.where}]
        )
        return not (point.where in wheres or lasts or alone or at_once)


def courses(chosen: Sequence[Point], size: int) -> tuple[Course, ...]:
    """Share points out among deletions, so many for each at most."""
    made: list[Course] = []
    for point in chosen:
        place = next(
            (
                i
                for i, course in enumerate(made)
                if len(course.points) < size and course.takes(point)
            ),
            None,
        )
        if place is None:
            made.append(Course((point,)))
        else:
            together = sorted((*made[place].points, point), key=_place)
            made[place] = Course(tuple(together))
    return tuple(made)


def _place(point: Point) -> int:
    return ORDER.index(point.where)


def needs_merge(where: str) -> bool:
    """Return whether the point is reached only if the surviving shards were never merged before."""
    return where.startswith("merge:") or where.endswith((":StartMerge", ":RecordRevision"))


def points() -> tuple[Point, ...]:
    """Give all of them, shuffled but always alike: the first few are of many kinds."""
    every = [Point(fault, where) for fault in Fault for where in PLACES[fault]]
    random.Random(SHUFFLE).shuffle(every)
    return tuple(every)


def chosen() -> tuple[Course, ...]:
    """Give those that are to be tried.

    CHAOS_POINTS has parts of their names, with commas; CHAOS_TOGETHER says how many of them may
    hit one deletion, one after the other.
    """
    parts = os.environ.get("CHAOS_POINTS", "").split(",")
    wanted = [point for point in points() if any(part in str(point) for part in parts)]
    return courses(wanted, int(os.environ.get("CHAOS_TOGETHER") or 1))
