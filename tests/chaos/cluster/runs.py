"""One run: a soup that shows the trigger, a deletion, faults at their points, what must be so.

the pantry prepares soups ahead   →   armed, deleted, struck   →   receipt   →   verdict
"""

import time
from collections.abc import Callable
from functools import partial

from tests.chaos.cluster.book import Book
from tests.chaos.cluster.chaos_cluster import AtGate, ChaosCluster
from tests.chaos.cluster.faults import After, nothing, strike
from tests.chaos.cluster.pantry import Pantry, await_trigger, patiently
from tests.chaos.cluster.points import FROZEN_LATE, STRUCK_FIRST, Course, Fault, Point
from tests.chaos.cluster.run_notes import RunNotes
from tests.chaos.cluster.verdict import Jobs, checked, is_complete, judge, keys_naming, signed_at
from tests.e2e.studio import NAMESPACE

from stockpot.api.v1alpha1 import UnlearningReceipt
from stockpot.cluster.apiserver.objects import Json

PATIENT: Json = {"unlearning": {"deadlineSeconds": 3600}, "membership": {"minShards": 3}}
HASTY: Json = {"unlearning": {"deadlineSeconds": 5}, "membership": {"minShards": 1}}
"""Soups in which something stays frozen past the deadline, so that the first receipt is
Incomplete. They serve the base then, and two survivors are to come back after it."""
WATCHED_ANSWERS = 5
"""The least number of answers that are awaited after the receipt."""
GATE_S = 200.0
LOOKS_AT_GONE = 4
"""The shard is gone, and its last gate may still be said to be reached."""


def run(
    chaos_cluster: ChaosCluster, book: Book, pantry: Pantry, course: Course, notes: RunNotes
) -> None:
    """Do one run, and write down what there is to know of it, also where it fails.

    Raises:
        AssertionError: It is not so as it must be; or it cannot be known.
    """
    dish = pantry.take(course)
    notes.soup, notes.shards = dish.soup, (f"{dish.soup}-{dish.shard}",)
    soup, first = dish.soup, course.points[0]
    if course.needs_merge and first.fault not in STRUCK_FIRST:
        _season(chaos_cluster, pantry, soup)
        await_trigger(chaos_cluster, book, soup)
    after = nothing
    if first.fault in STRUCK_FIRST:
        after = _strike_first(chaos_cluster, book, pantry, first, notes)
    uid = chaos_cluster.soup(soup).metadata.uid
    jobs = Jobs(chaos_cluster, soup)
    jobs.look()
    assert book.counts(soup), "the trigger does not show before the deletion"
    armed = chaos_cluster.arm(soup, first.where) if first.fault not in STRUCK_FIRST else ""
    notes.began_at, began_s = time.time(), time.monotonic()
    for shard in notes.shards:
        _delete(chaos_cluster, shard)
    if armed:
        after = _strike_all(chaos_cluster, course, notes, armed)
    if first.fault in FROZEN_LATE:
        _until(
            chaos_cluster,
            jobs,
            lambda: _is_past(chaos_cluster, uid, notes, first),
            "it goes on without",
        )
        after()
        after = nothing
    _until(
        chaos_cluster,
        jobs,
        lambda: _are_gone(chaos_cluster, notes),
        f"{notes.shards} are forgotten",
    )
    notes.seconds = round(time.monotonic() - began_s, 1)
    after()
    receipts = _ours(chaos_cluster, uid, notes)
    _await_answers(chaos_cluster, book, soup, receipts)
    judge(notes, book.of(soup), receipts)
    complete = {receipt.spec.shard.name for receipt in receipts if is_complete(receipt)}
    assert complete == set(notes.shards), f"Complete receipts: {complete}"
    chaos_cluster.until(
        lambda: chaos_cluster.current(soup) == pantry.undisturbed(soup), "the survivors' weights"
    )
    jobs.judge(course)
    notes.proven, notes.attested = checked(chaos_cluster, uid)
    for receipt in receipts:
        left = keys_naming(chaos_cluster, uid, receipt.spec.shard.uid)
        assert left <= {"tombstone", "inventory", "keyed digests"}, f"the store still has {left}"
    if first.fault in FROZEN_LATE:
        patiently(partial(chaos_cluster.change, soup, PATIENT))


def _strike_all(chaos_cluster: ChaosCluster, course: Course, notes: RunNotes, armed: str) -> After:
    """Have each of the points hit the deletion, one after the other."""
    soup, left = notes.soup, list(course.points)
    afters: list[After] = []
    while left:
        point = left.pop(0)
        at = _await_gate(chaos_cluster, notes, armed)
        nexts: list[str] = []
        # The next gate is armed in the moment in which this one is opened: none is missed.
        go_on = partial(chaos_cluster.disarm, soup)
        if left:
            go_on = partial(_arm, chaos_cluster, soup, left[0].where, nexts)
        afters.append(strike(point.fault, chaos_cluster, soup, at, go_on))
        notes.struck += 1
        armed = nexts[0] if nexts else ""

    def all_after() -> None:
        for after in afters:
            after()

    return all_after


def _arm(chaos_cluster: ChaosCluster, soup: str, where: str, armed: list[str]) -> None:
    armed.append(chaos_cluster.arm(soup, where))


def _season(chaos_cluster: ChaosCluster, pantry: Pantry, soup: str) -> None:
    """Have the soup merged with other weights, the shard in it, so that its survivors are not."""
    before = chaos_cluster.current(soup)
    pantry.season(soup)
    chaos_cluster.until(
        lambda: chaos_cluster.current(soup) not in {"", before}, f"{soup} is made again"
    )


def _is_past(chaos_cluster: ChaosCluster, uid: str, notes: RunNotes, point: Point) -> bool:
    """Whether the deadline has passed, and the unlearning goes on beside what is frozen."""
    if point.fault is Fault.FREEZE_MERGE:
        # The kubelet ends a merge for good after half a minute: it wakes beside the purge.
        return bool(chaos_cluster.jobs(notes.soup, "purge"))
    return any(our.spec.shard.name == notes.shards[-1] for our in _ours(chaos_cluster, uid, notes))


def _are_gone(chaos_cluster: ChaosCluster, notes: RunNotes) -> bool:
    return not any(map(chaos_cluster.shard, notes.shards))


def _ours(chaos_cluster: ChaosCluster, uid: str, notes: RunNotes) -> list[UnlearningReceipt]:
    """Give the receipts of this run, in order."""
    known = [
        receipt
        for receipt in chaos_cluster.receipts(uid)
        if receipt.spec.shard.name in notes.shards
    ]
    return sorted(known, key=lambda receipt: receipt.spec.sequence)


def _strike_first(
    chaos_cluster: ChaosCluster, book: Book, pantry: Pantry, point: Point, notes: RunNotes
) -> After:
    """Have something stop before the deletion; give what is to be done last."""
    soup = notes.soup
    go_on = partial(chaos_cluster.disarm, soup)
    if point.fault in FROZEN_LATE:
        patiently(partial(chaos_cluster.change, soup, HASTY))
    match point.fault:
        case Fault.FREEZE_TRAINER:
            late = f"{soup}-{pantry.next_of(soup)}"
            armed = chaos_cluster.arm(soup, f"{point.where}@{late}")
            pantry.teach_another(soup)
            notes.shards = (*notes.shards, late)
            wake = strike(
                point.fault, chaos_cluster, soup, _await_gate(chaos_cluster, notes, armed), go_on
            )
        case Fault.FREEZE_MERGE:
            armed = chaos_cluster.arm(soup, point.where)
            # The mean is to be rounded to something else: it is made again, with the shard in it.
            chaos_cluster.change(soup, {"merge": {"output": "bf16"}})
            thaw = strike(
                point.fault, chaos_cluster, soup, _await_gate(chaos_cluster, notes, armed), go_on
            )

            def wake() -> None:
                thaw()
                patiently(lambda: chaos_cluster.change(soup, {"merge": {"output": "fp16"}}))

        case _:
            before = chaos_cluster.current(soup)
            armed = chaos_cluster.arm(soup, point.where)
            # With other weights it is made again, with the shard in it, and that is granted late.
            pantry.season(soup)
            wake = strike(
                point.fault, chaos_cluster, soup, _await_gate(chaos_cluster, notes, armed), go_on
            )
            chaos_cluster.until(
                lambda: chaos_cluster.current(soup) not in {"", before}, f"{soup} is made again"
            )
            await_trigger(chaos_cluster, book, soup)
    notes.struck += 1
    return wake


def _delete(chaos_cluster: ChaosCluster, shard: str) -> None:
    words = ("--wait=false", "--ignore-not-found")
    patiently(lambda: chaos_cluster.kubectl("delete", "shard", shard, "-n", NAMESPACE, *words))


def _await_gate(chaos_cluster: ChaosCluster, notes: RunNotes, armed: str) -> AtGate:
    """Wait until somebody stands at the armed gate."""
    gates: list[AtGate] = []
    gone = 0

    def look() -> bool:
        nonlocal gone
        if at := chaos_cluster.at_gate(notes.soup, armed):
            gates.append(at)
        gone += _are_gone(chaos_cluster, notes)
        return bool(gates) or gone > LOOKS_AT_GONE

    chaos_cluster.until(look, f"{notes.soup} comes to {armed}", GATE_S)
    assert gates, f"it is forgotten, and never came to {armed}"
    return gates[0]


def _until(chaos_cluster: ChaosCluster, jobs: Jobs, so: Callable[[], bool], what: str) -> None:
    """Wait for something, and look at Jobs meanwhile."""

    def look() -> bool:
        jobs.look()
        return so()

    chaos_cluster.until(look, what)


def _await_answers(
    chaos_cluster: ChaosCluster, book: Book, soup: str, receipts: list[UnlearningReceipt]
) -> None:
    since = signed_at(receipts)

    def enough() -> bool:
        later = [
            answer for answer in book.of(soup) if answer.asked_at > since and answer.status == 200
        ]
        return len(later) >= WATCHED_ANSWERS

    chaos_cluster.until(enough, f"{WATCHED_ANSWERS} answers of {soup} after the receipt")
