"""What a writer still writes who wakes up after the receipt is looked for, and removed."""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *

CATS, DOGS = a_shard("cats").trained(), uid("dogs")
SIGNED = RecordedReceipt("pets-1", DOGS, 1, signed_at=NOON)
FIRST = StartRescan(1, (DOGS,))
MINUTE = timedelta(minutes=1)


def world(done: LastRescan | None = None, *more: RecordedReceipt) -> World:
    soup = a_soup().of("cats").with_fields(last_rescan=done)
    return a_world(soup, CATS, receipts=(SIGNED, *more))


def test_a_rescan_is_due_soon_after_a_receipt() -> None:
    assert actions_for(world()) == ()
    assert check(world(), NOON).due_at == NOON + 5 * MINUTE
    assert actions_for(world(), NOON + 5 * MINUTE) == (FIRST,)


def test_without_an_unlearned_shard_there_is_no_rescan() -> None:
    nothing = a_world(a_soup().of("cats"), CATS)
    incomplete = a_world(a_soup().of("cats"), CATS, receipts=(replace(SIGNED, is_complete=False),))

    assert check(nothing, NOON).due_at is None
    assert actions_for(nothing, NOON + 90 * MINUTE) == ()
    assert actions_for(incomplete, NOON + 90 * MINUTE) == (), "its own purge is repeated"


def test_what_was_found_is_written_down_and_the_run_goes() -> None:
    removed = replace(world(), runs=(ended(FIRST, purged_objects=2),))

    assert actions_for(removed, NOON + 6 * MINUTE) == (RecordRescan(1, 2),)


def test_rescans_become_less_frequent_but_stay_daily() -> None:
    def waits(quiet: int) -> timedelta:
        due = check(world(LastRescan(1, NOON + MINUTE, quiet)), NOON + MINUTE).due_at
        assert due is not None
        return due - NOON - MINUTE

    assert [waits(0), waits(1), waits(2), waits(30)] == [
        5 * MINUTE,
        10 * MINUTE,
        20 * MINUTE,
        timedelta(days=1),
    ]


def test_another_receipt_makes_the_next_look_soon() -> None:
    later = NOON + timedelta(days=30)
    eels = RecordedReceipt("pets-2", uid("eels"), 2, signed_at=later)
    rested = world(LastRescan(9, NOON + MINUTE, 12), eels)

    assert actions_for(rested, later + 5 * MINUTE) == (StartRescan(10, (DOGS, uid("eels"))),)
