"""One run: a soup that shows the trigger, a deletion, a fault at its point, and what must be so.

the pantry prepares soups ahead   →   armed, deleted, struck   →   receipt   →   verdict
"""

import re
import time
from collections.abc import Callable

from tests.chaos.cluster.book import Book
from tests.chaos.cluster.faults import After, nothing, strike
from tests.chaos.cluster.house import AtGate, House
from tests.chaos.cluster.laying import SURVIVORS, planted
from tests.chaos.cluster.pantry import Pantry, await_trigger, patiently
from tests.chaos.cluster.points import Fault, Point
from tests.chaos.cluster.told import Told
from tests.chaos.cluster.verdict import Jobs, checked, is_complete, judge, keys_naming, signed_at
from tests.e2e.studio import NAMESPACE

from stockpot.api.v1alpha1 import UnlearningReceipt

LONG_S, DEADLINE_S = 3600, 5
"""How long an unlearning waits; the short one is of soups in which something stays frozen past
it, so that the first receipt is Incomplete."""
WATCHED_ANSWERS = 5
"""So many answers after the receipt are waited for, at the least."""
GATE_S = 600.0
FROZEN_LATE = (Fault.FREEZE_MERGE, Fault.FREEZE_TRAINER)
OWN_SOUP = (*FROZEN_LATE, Fault.WAKE_LATE)
"""Struck before the deletion, in a soup that is made for it."""
FIRST, SECOND = planted(0), planted(1)


def run(house: House, book: Book, pantry: Pantry, point: Point, told: Told) -> None:
    """Do one run, and write down what there is to know of it, also where it fails.

    Raises:
        AssertionError: It is not so as it must be; or it cannot be known.
    """
    after = _prepare(house, book, pantry, point, told)
    soup, uid = told.soup, house.soup(told.soup).metadata.uid
    jobs = Jobs(house, soup)
    jobs.look()
    assert book.counts(soup), "the trigger does not show before the deletion"
    is_struck = point.fault in OWN_SOUP
    if not is_struck:
        house.arm(soup, point.where)
    told.began_at, began_s = time.time(), time.monotonic()
    for shard in told.shards:
        _delete(house, shard)
    if not is_struck:
        after = strike(point.fault, house, soup, _await_gate(house, soup, point.where))
    if point.fault in FROZEN_LATE:
        _until(house, jobs, lambda: _is_past(house, uid, told, point), "it goes on without")
        after()
        after = nothing
    _until(
        house, jobs, lambda: not any(map(house.shard, told.shards)), f"{told.shards} are forgotten"
    )
    told.seconds = round(time.monotonic() - began_s, 1)
    after()
    receipts = _ours(house, uid, told)
    _await_answers(house, book, soup, receipts)
    judge(told, book.of(soup), receipts)
    complete = {one.spec.shard.name for one in receipts if is_complete(one)}
    assert complete == set(told.shards), f"Complete receipts: {complete}"
    house.until(lambda: house.current(soup) == pantry.undisturbed, "the survivors' own weights")
    jobs.judge(point)
    told.proven, told.attested = checked(house, uid)
    for one in receipts:
        left = keys_naming(house, one.spec.shard.uid)
        assert left <= {"tombstone", "inventory"}, f"the store still has {left}"


def _is_past(house: House, uid: str, told: Told, point: Point) -> bool:
    """Whether the deadline has passed, and the unlearning goes on beside what is frozen."""
    if point.fault is Fault.FREEZE_MERGE:
        # The kubelet ends a merge for good after half a minute: it wakes beside the purge.
        return bool(house.jobs(told.soup, "purge"))
    return any(one.spec.shard.name == told.shards[-1] for one in _ours(house, uid, told))


def _ours(house: House, uid: str, told: Told) -> list[UnlearningReceipt]:
    """Give the receipts of this run, in order."""
    known = [one for one in house.receipts(uid) if one.spec.shard.name in told.shards]
    return sorted(known, key=lambda one: one.spec.sequence)


def _prepare(house: House, book: Book, pantry: Pantry, point: Point, told: Told) -> After:
    """Have a soup and what is to be deleted of it; give what is to be done last."""
    if point.fault not in OWN_SOUP:
        dish = pantry.take()
        told.soup, told.shards = dish.soup, (f"{dish.soup}-{dish.shard}",)
        return nothing
    told.soup = soup = re.sub("[^a-z0-9]+", "-", str(point).lower())
    told.shards = (f"{soup}-{FIRST}",)
    deadline_s = DEADLINE_S if point.fault in FROZEN_LATE else LONG_S
    house.plant(soup, *SURVIVORS, FIRST, deadline_s=deadline_s)
    match point.fault:
        case Fault.FREEZE_TRAINER:
            await_trigger(house, book, soup)
            told.shards = (*told.shards, late := f"{soup}-{SECOND}")
            where = f"{point.where}@{late}"
            house.arm(soup, where)
            house.teach(soup, SECOND)
            return strike(point.fault, house, soup, _await_gate(house, soup, where))
        case Fault.FREEZE_MERGE:
            await_trigger(house, book, soup)
            house.arm(soup, point.where)
            # The mean is to be rounded to something else: it is made again, with the shard in it.
            house.change(soup, {"merge": {"output": "bf16"}})
            at = _await_gate(house, soup, point.where)
            wake = strike(point.fault, house, soup, at)

            def after() -> None:
                wake()
                house.change(soup, {"merge": {"output": "fp16"}})

            return after
        case _:
            house.until(lambda: any(o.status == 200 for o in book.of(soup)), "the base answers")
            house.arm(soup, point.where)
            at = _await_gate(house, soup, point.where)
            wake = strike(point.fault, house, soup, at)
            await_trigger(house, book, soup)
            return wake


def _delete(house: House, shard: str) -> None:
    words = ("--wait=false", "--ignore-not-found")
    patiently(lambda: house.kubectl("delete", "shard", shard, "-n", NAMESPACE, *words))


def _await_gate(house: House, soup: str, where: str) -> AtGate:
    at: AtGate = house.until(lambda: house.at_gate(soup, where), f"{soup} comes to {where}", GATE_S)
    return at


def _until(house: House, jobs: Jobs, so: Callable[[], bool], what: str) -> None:
    """Wait for something, and look at Jobs meanwhile."""

    def look() -> bool:
        jobs.look()
        return so()

    house.until(look, what)


def _await_answers(house: House, book: Book, soup: str, receipts: list[UnlearningReceipt]) -> None:
    since = signed_at(receipts)

    def enough() -> bool:
        later = [one for one in book.of(soup) if one.asked_at > since and one.status == 200]
        return len(later) >= WATCHED_ANSWERS

    house.until(enough, f"{WATCHED_ANSWERS} answers of {soup} after the receipt")
