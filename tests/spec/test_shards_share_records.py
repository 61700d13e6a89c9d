"""Records that several shards have are found before a shard joins, and named where they survive."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

CATS, DOGS = a_shard("cats").trained(), a_shard("dogs").trained()
NEW_DOGS = DOGS.with_fields(comparison=None)
COMPARISON = StartCompare(Ingredient(uid("dogs"), key("dogs")))
SHARED = Comparison(100, ((uid("cats"), 40),), 40, shared_with=1)
REFUSING = a_soup().of("cats").with_fields(refuses_overlaps=True)


def conditions_of(world: World, shard: str) -> dict[ConditionType, str]:
    [report] = [report for report in report_of(check(world, NOON)).shards if report.shard == shard]
    return {each.type: each.message for each in report.conditions}


def test_a_shard_is_compared_before_it_joins() -> None:
    world = a_world(a_soup().of("cats"), CATS, NEW_DOGS)

    pending = check(world, NOON).pending[uid("dogs")]

    assert actions_for(world) == (COMPARISON,)
    assert pending is not None
    assert (pending.stage, pending.blocker.reason) == (Stage.COMPARED, Reason.NOT_COMPARED)
    assert check(world, NOON).inputs.recipe == a_recipe("cats")


def test_what_it_has_in_common_is_recorded_and_then_it_joins() -> None:
    run = ended(
        COMPARISON,
        records=100,
        shared=({"shard": uid("cats"), "records": 40},),
        shared_records=40,
        shard_count=1,
    )
    compared = a_world(a_soup().of("cats"), CATS, DOGS.with_fields(comparison=SHARED), run)

    assert actions_for(a_world(a_soup().of("cats"), CATS, NEW_DOGS, run)) == (
        RecordComparison(COMPARISON.ingredient, SHARED),
    )
    assert StartMerge(a_recipe("cats", "dogs")) in actions_for(compared)
    assert EndRun(run.name) in actions_for(compared)


def test_a_shard_that_is_in_the_soup_already_is_not_compared() -> None:
    old = CATS.with_fields(comparison=None)

    assert actions_for(a_world(a_soup().of("cats"), old, a_server().of("cats"))) == ()


def test_a_shard_that_is_out_on_purpose_is_not_compared() -> None:
    assert COMPARISON not in actions_for(a_world(a_soup().of("cats"), CATS, NEW_DOGS.set_aside()))


@pytest.mark.parametrize("reverse", [False, True])
def test_both_shards_name_the_other_and_count_the_records(reverse: bool) -> None:
    theirs = Comparison(100, ((uid("dogs"), 40),), 40)
    cats = CATS.with_fields(comparison=theirs) if reverse else CATS
    dogs = DOGS if reverse else DOGS.with_fields(comparison=SHARED)
    world = a_world(a_soup().of("cats", "dogs"), cats, dogs, a_server().of("cats", "dogs"))

    [soup] = [c for c in report_of(check(world, NOON)).soup.conditions if c.type == "Overlaps"]

    assert conditions_of(world, uid("cats"))[ConditionType.OVERLAPS] == (
        "40 records are in dogs as well"
    )
    assert conditions_of(world, uid("dogs"))[ConditionType.OVERLAPS] == (
        "40 records are in cats as well"
    )
    assert soup.message == "cats, dogs share records: see their condition Overlaps"


def test_pictures_that_look_alike_are_told_apart_and_refuse_nothing() -> None:
    alike = Comparison(100, similar=((uid("cats"), 14),))
    dogs = DOGS.with_fields(comparison=alike)
    world = a_world(REFUSING, CATS, dogs)
    both = replace(SHARED, similar=alike.similar)
    joined = a_world(
        a_soup().of("cats", "dogs"),
        *(CATS, DOGS.with_fields(comparison=both), a_server().of("cats", "dogs")),
    )

    assert check(world, NOON).inputs.recipe == a_recipe("cats", "dogs")
    assert conditions_of(world, uid("cats"))[ConditionType.OVERLAPS] == (
        "14 look like pictures of dogs"
    )
    assert conditions_of(joined, uid("dogs"))[ConditionType.OVERLAPS] == (
        "40 records are in cats as well; 14 look like pictures of cats"
    )


def test_shards_without_common_records_have_no_such_condition() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, DOGS, a_server().of("cats", "dogs"))

    assert ConditionType.OVERLAPS not in conditions_of(world, uid("dogs"))


def test_an_overlap_keeps_a_newcomer_out_where_the_soup_refuses_it() -> None:
    world = a_world(REFUSING, CATS, DOGS.with_fields(comparison=SHARED))

    pending = check(world, NOON).pending[uid("dogs")]

    assert pending is not None
    assert (pending.blocker.reason, pending.blocker.needs_person) == (Reason.OVERLAPS, True)
    assert pending.blocker.message == (
        "40 records are in cats as well, and membership.onOverlap is Refuse"
    )
    assert check(world, NOON).inputs.recipe == a_recipe("cats")


def test_once_the_other_shard_is_deleted_it_joins() -> None:
    world = a_world(REFUSING, CATS.tombstoned(), DOGS.with_fields(comparison=SHARED))

    assert check(world, NOON).inputs.recipe == a_recipe("dogs")


def test_shards_that_are_in_the_soup_stay_when_overlaps_are_refused_later() -> None:
    soup = a_soup().of("cats", "dogs").with_fields(refuses_overlaps=True)
    world = a_world(soup, CATS, DOGS.with_fields(comparison=SHARED), a_server().of("cats", "dogs"))

    assert actions_for(world) == ()
    assert check(world, NOON).pending[uid("dogs")] is None


def test_a_comparison_that_fails_is_tried_again_and_holds_up_no_deletion() -> None:
    failed = broken(COMPARISON, 44, "the store does not answer")
    failed = replace(failed, failure=Failure(44, "the store does not answer", at=NOON))
    deleted = a_shard("eels").trained().tombstoned()
    world = a_world(a_soup().of("cats", "eels"), CATS, NEW_DOGS, deleted, failed)

    assert StartMerge(a_recipe("cats")) in actions_for(world)
    assert next_attempt(COMPARISON, 2) in actions_for(world, NOON + timedelta(minutes=5))
