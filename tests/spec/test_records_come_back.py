"""Records that were unlearned come back only by name, in whatever shard they come."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

GONE = uid("gone")
HOUR = timedelta(hours=1)
LATER = NOON + 2 * HOUR
RECEIPT = RecordedReceipt("pets-3", GONE, 3, requested_at=NOON)
RETURNING = Comparison(120, returning=((GONE, 119),), returning_count=1)
CATS = a_shard("cats").trained()
NEW = a_shard("dogs").trained(at=NOON + HOUR).with_fields(comparison=RETURNING)
SOUP = a_soup().of("cats")


def blocker_of(world: World, shard: str = "dogs") -> Blocker:
    pending = check(world, LATER).pending[uid(shard)]
    assert pending is not None
    assert pending.stage is Stage.COMPARED
    return pending.blocker


def test_records_that_were_unlearned_keep_a_newcomer_out_and_are_counted() -> None:
    world = a_world(SOUP, CATS, NEW, receipts=(RECEIPT,))

    blocker = blocker_of(world)

    assert (blocker.reason, blocker.needs_person) == (Reason.FORGOTTEN, True)
    assert blocker.message == (
        "119 of 120 records of DataShard dogs were unlearned in UnlearningReceipt pets-3"
    )
    assert blocker.help == (
        "name these records in spec.excludeRecords; or, to learn them again, set spec.relearn: "
        "pets-3"
    )
    assert check(world, LATER).inputs.recipe == a_recipe("cats")


def test_the_comparison_is_recorded_with_what_was_unlearned() -> None:
    start = StartCompare(Ingredient(uid("dogs"), key("dogs")))
    run = ended(
        start,
        records=120,
        returning=({"shard": GONE, "records": 119},),
        returning_records=119,
        returning_count=1,
        unread_lists=2,
    )
    world = a_world(SOUP, CATS, NEW.with_fields(comparison=None), run, receipts=(RECEIPT,))

    assert actions_for(world) == (
        RecordComparison(start.ingredient, replace(RETURNING, unread_lists=2)),
    )


@pytest.mark.parametrize("name", ["pets-3", "gone-uid", "pets-1", "pets-2,pets-3"])
def test_who_names_a_receipt_of_that_unlearning_or_its_shard_lets_them_back(name: str) -> None:
    earlier = RecordedReceipt("pets-1", GONE, 1, is_complete=False, requested_at=NOON)
    named = NEW.with_fields(relearn=frozenset(name.replace("gone-uid", GONE).split(",")))
    world = a_world(SOUP, CATS, named, receipts=(earlier, RECEIPT))

    assert check(world, LATER).inputs.recipe == a_recipe("cats", "dogs")


def test_records_of_several_unlearnings_need_each_of_their_receipts() -> None:
    other = RecordedReceipt("pets-9", uid("other"), 9, requested_at=NOON)
    comparison = replace(RETURNING, returning=((GONE, 60), (uid("other"), 4)), returning_count=2)
    half = NEW.with_fields(comparison=comparison, relearn=frozenset({"pets-3"}))

    blocker = blocker_of(a_world(SOUP, CATS, half, receipts=(RECEIPT, other)))

    assert "4 of 120 records of DataShard dogs were unlearned" in blocker.message
    assert blocker.help.endswith("set spec.relearn: pets-3,pets-9")


def test_a_shard_that_taught_them_before_keeps_them_also_when_it_is_trained_again() -> None:
    before = NEW.with_fields(first_trained_at=NOON - HOUR)
    world = a_world(SOUP, CATS, before, receipts=(RECEIPT,))

    assert check(world, LATER).inputs.recipe == a_recipe("cats", "dogs")


def test_records_that_are_only_just_being_unlearned_keep_it_out_too() -> None:
    going = a_shard("gone").trained().tombstoned(at=NOON)
    world = a_world(SOUP, CATS, NEW, going)

    blocker = blocker_of(world)

    assert "are being unlearned with DataShard gone" in blocker.message
    assert blocker.help.endswith(f"set spec.relearn: {GONE}")


def test_a_shard_that_was_compared_as_a_living_one_and_was_deleted_counts() -> None:
    stale = NEW.with_fields(comparison=Comparison(120, ((GONE, 7),), 7, 1))
    going = a_shard("gone").trained().tombstoned(at=NOON)

    assert "7 of 120 records" in blocker_of(a_world(SOUP, CATS, stale, going)).message
    assert blocker_of(a_world(SOUP, CATS, stale, receipts=(RECEIPT,))).reason is Reason.FORGOTTEN


def test_without_the_object_of_its_receipt_the_shard_is_named_by_its_uid() -> None:
    records = f"{GONE}.0123456789abcdef"
    comparison = replace(RETURNING, returning=((ShardUID(records), 2),))

    blocker = blocker_of(a_world(SOUP, CATS, NEW.with_fields(comparison=comparison)))

    assert f"were unlearned with the DataShard of UID {GONE}" in blocker.message
    assert blocker.help.endswith(f"set spec.relearn: {GONE}")


def test_a_shard_in_the_soup_stays() -> None:
    world = a_world(
        a_soup().of("cats", "dogs"),
        *(CATS, NEW, a_server().of("cats", "dogs")),
        receipts=(RECEIPT,),
    )

    assert check(world, LATER).pending[uid("dogs")] is None


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (Comparison(9, unread=2), "it was not compared with 2 shards: no list of their records"),
        (Comparison(None, unread=2), "it has no list of its records that can be read"),
        (Comparison(9, unread_lists=1), "the lists of 1 unlearnings cannot be read"),
        (Comparison(9, similar_with=3), "it has pictures that look like those of 3 more shards"),
    ],
)
def test_what_a_comparison_could_not_read_is_said(comparison: Comparison, message: str) -> None:
    dogs = a_shard("dogs").trained().with_fields(comparison=comparison)
    world = a_world(a_soup().of("cats", "dogs"), CATS, dogs, a_server().of("cats", "dogs"))

    report = report_of(check(world, LATER))
    [shard] = [each for each in report.shards if each.shard == uid("dogs")]
    [condition] = [each for each in shard.conditions if each.type == "Overlaps"]
    [of_soup] = [each for each in report.soup.conditions if each.type == "Overlaps"]

    assert (condition.so, condition.reason) == (False, Reason.NOT_COMPARED)
    assert message in condition.message
    assert of_soup.message.startswith("dogs could not be compared with all others")


def test_shards_beyond_those_that_are_named_are_counted() -> None:
    comparison = Comparison(100, ((uid("cats"), 40),), 40, shared_with=17)
    dogs = a_shard("dogs").trained().with_fields(comparison=comparison)
    world = a_world(a_soup().of("cats", "dogs"), CATS, dogs, a_server().of("cats", "dogs"))

    report = report_of(check(world, LATER))
    [shard] = [each for each in report.shards if each.shard == uid("dogs")]
    [condition] = [each for each in shard.conditions if each.type == "Overlaps"]

    assert condition.message == (
        "40 records are in cats as well; it shares records with 16 more shards, which are not named"
    )
