"""Records leave a shard: out of the soup at once, trained without them, receipt of its own."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

DOGS, CATS = uid("dogs"), a_shard("cats").trained()
OLD = Ingredient(DOGS, key("dogs"))
FORMER = former_of(OLD)
CONFIRMED = FoundRecords(records=100, covered=2)
NO_LIST = FoundRecords()
NAMED = a_shard("dogs").trained().with_fields(excluded_records=frozenset({"rex.png"}))
WITH_EXCLUSION = NAMED.with_fields(found_records=NO_LIST)
SEARCH = StartFind(DOGS, NAMED.shard.request)
REQUEST_RECORDED = WITH_EXCLUSION.with_fields(records_asked_at=NOON)
AGAIN = StartTraining(DOGS, WITH_EXCLUSION.shard.request)
DISOWN = DropIngredient(DOGS, OLD, ("rex.png",))
DISOWNED = a_shard("dogs").with_fields(
    excluded_records=frozenset({"rex.png"}), forgotten_records=frozenset({"rex.png"})
)
LEFT = TargetBuilder(
    UnlearningTarget(FORMER, "dogs (1 records)", PastTraining(OLD, AGAIN.stem), requested_at=NOON)
)


def lacks(world: World, shard: str = DOGS) -> tuple[Stage, Reason] | None:
    pending = check(world, NOON).pending[shard]  # type: ignore[index]
    return (pending.stage, pending.blocker.reason) if pending else None


def kinds(actions: tuple[Action, ...]) -> list[type]:
    return [type(action) for action in actions]


def test_names_are_looked_up_before_anything_changes() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, NAMED, a_server().of("cats", "dogs"))

    assert actions_for(world) == (RequestRecordRemoval(DOGS), SEARCH)
    assert lacks(world) == (Stage.TRAINED, Reason.FINDING_RECORDS)
    assert check(world, NOON).inputs.recipe == a_recipe("cats", "dogs")


def test_what_was_found_is_recorded_and_the_shard_leaves_at_once() -> None:
    requested = NAMED.with_fields(records_asked_at=NOON)
    search = ended(SEARCH, records=100, covered=2)
    soup = a_soup().of("cats", "dogs").having_made("cats")
    confirmed = a_world(soup, CATS, requested.with_fields(found_records=CONFIRMED), search)

    assert actions_for(a_world(soup, CATS, requested, search)) == (
        RecordFoundRecords(DOGS, NAMED.shard.request, CONFIRMED),
    )
    assert check(confirmed, NOON).inputs.recipe == a_recipe("cats")
    assert DISOWN in actions_for(confirmed)
    assert EndRun(search.name) in actions_for(confirmed)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (FoundRecords(100, 0, ("rex.png",), 1), "was not trained on rex.png: spec.excludeRecords"),
        (FoundRecords(100, 1, ("a", "b", "c"), 5), "was not trained on a, b, c and 2 more: "),
        (FoundRecords(100, 100), "spec.excludeRecords covers all 100 records of DataShard dogs"),
    ],
)
def test_a_request_that_matches_nothing_or_all_is_refused_and_changes_nothing(
    search: FoundRecords, message: str
) -> None:
    refused = NAMED.with_fields(records_asked_at=LONG_AGO, found_records=search)
    overdue = refused.with_fields(is_removal_overdue=True)

    for shard in (refused, overdue):
        world = a_world(a_soup().of("cats", "dogs"), CATS, shard, a_server().of("cats", "dogs"))
        pending = check(world, NOON).pending[DOGS]
        [report] = [r for r in report_of(check(world, NOON)).shards if r.shard == DOGS]

        assert actions_for(world) == ()
        assert pending is not None
        assert (pending.blocker.reason, pending.blocker.needs_person) == (
            Reason.UNKNOWN_RECORDS,
            True,
        )
        assert message in pending.blocker.message
        assert {(c.type, c.so) for c in report.conditions} >= {
            (ConditionType.STALLED, True),
            (ConditionType.TRAINED, True),
            (ConditionType.INCLUDED, True),
        }


def test_without_an_answer_by_the_deadline_it_leaves_all_the_same() -> None:
    requested = NAMED.with_fields(records_asked_at=NOON)
    late = requested.with_fields(is_removal_overdue=True)
    soup = a_soup().of("cats", "dogs").having_made("cats").with_fields(deadline_s=60)
    broken_search = broken(SEARCH, 44, "the store does not answer")
    waiting = check(a_world(soup, CATS, requested, a_run(SEARCH)), NOON)

    assert check(a_world(soup, CATS, requested, broken_search), NOON).inputs.recipe == a_recipe(
        "cats", "dogs"
    )
    assert waiting.wake_at == NOON + timedelta(seconds=60)
    assert check(a_world(soup, CATS, late, broken_search), NOON).inputs.recipe == a_recipe("cats")


def test_a_shard_without_an_ingredient_has_nothing_to_look_up() -> None:
    untrained = a_shard("dogs").with_fields(excluded_records=frozenset({"rex.png"}))

    assert SEARCH not in actions_for(a_world(a_soup().of("cats"), CATS, untrained))


def test_the_shard_leaves_the_soup_at_once_and_is_trained_without_them() -> None:
    world = a_world(a_soup().of("cats", "dogs").having_made("cats"), CATS, WITH_EXCLUSION)

    actions = actions_for(world)

    assert RequestRecordRemoval(DOGS) in actions
    assert AGAIN in actions
    [promote] = [action for action in actions if isinstance(action, Promote)]
    assert promote.promotion.revision == a_revision("cats")


def test_it_waits_neither_for_a_suspended_soup_nor_for_a_free_place() -> None:
    soup = a_soup().of("cats").with_fields(suspended=True, parallelism=1)
    busy = a_run(StartTraining(uid("eels"), a_shard("eels").shard.request))

    assert AGAIN in actions_for(a_world(soup, CATS, REQUEST_RECORDED, a_shard("eels"), busy))


def test_nothing_of_it_is_purged_before_a_training_has_read_the_data() -> None:
    reading = replace(a_run(AGAIN), progress=TrainingProgress(0, 0, phase="reading"))
    training = replace(a_run(AGAIN), progress=TrainingProgress(1, 9, phase="encoding"))

    assert actions_for(a_world(a_soup().of("cats"), CATS, REQUEST_RECORDED)) == (AGAIN,)
    assert actions_for(a_world(a_soup().of("cats"), CATS, REQUEST_RECORDED, reading)) == ()
    assert actions_for(a_world(a_soup().of("cats"), CATS, REQUEST_RECORDED, training)) == (DISOWN,)


def test_a_record_that_is_not_there_loses_nothing_and_says_what_to_do() -> None:
    refused = broken(AGAIN, 42, "No record of the data is called rex.png.")
    world = a_world(a_soup().of("cats"), CATS, REQUEST_RECORDED, refused)

    pending = check(world, NOON).pending[DOGS]

    assert actions_for(world) == ()
    assert pending is not None
    assert (pending.blocker.reason, pending.blocker.needs_person) == (Reason.BAD_DATA, True)
    assert "rex.png" in pending.blocker.message


def test_correcting_a_misspelt_record_brings_the_shard_back() -> None:
    right = a_shard("dogs").trained().with_fields(records_asked_at=NOON)

    actions = actions_for(a_world(a_soup().of("cats").having_made("cats", "dogs"), CATS, right))

    assert CancelRecordRemoval(DOGS) in actions
    assert Promote in kinds(actions)


def test_a_training_that_cannot_be_had_does_not_hold_it_up_for_good() -> None:
    soup = a_soup().of("cats").with_fields(max_attempts=1)
    image = StartupBlocker(Reason.IMAGE_UNAVAILABLE, "no image")
    hindered = replace(a_run(AGAIN), startup_blocker=image)
    world = a_world(soup, CATS, REQUEST_RECORDED, hindered)

    assert DISOWN in actions_for(a_world(soup, CATS, REQUEST_RECORDED, broken(AGAIN, 44)))
    assert DISOWN not in actions_for(world)
    assert DISOWN in actions_for(world, NOON + timedelta(hours=1))


def test_what_was_written_before_they_were_named_is_forgotten_too() -> None:
    untrained = a_shard("dogs").with_fields(
        excluded_records=frozenset({"rex.png"}), records_asked_at=NOON
    )
    result = ended(AGAIN, training_key=key("d"), weights_digest=weights("d"))

    actions = actions_for(a_world(a_soup().of("cats"), CATS, untrained, result))

    [disown] = [action for action in actions if isinstance(action, DropIngredient)]
    assert not disown.is_known
    assert RecordIngredient not in kinds(actions), "not before that is written down"


def test_the_former_training_is_purged_and_signed_while_the_shard_goes_on() -> None:
    soup = a_soup().of("cats")
    purged = ended(StartPurge(FORMER))
    receipt = RecordedReceipt("pets-1", FORMER, 1)

    assert StartPurge(FORMER) in actions_for(a_world(soup, CATS, DISOWNED, LEFT))
    assert StartSigning((DueReceipt(FORMER),)) in actions_for(
        a_world(soup, CATS, DISOWNED, LEFT, purged)
    )
    done = actions_for(a_world(soup, CATS, DISOWNED, LEFT, receipts=(receipt,)))
    assert ReleaseShard(FORMER) in done
    assert AGAIN in done


def test_the_former_training_waits_for_who_holds_it_and_for_who_may_write_it() -> None:
    soup = a_soup().of("cats")
    before = replace(a_run(AGAIN), name=StartTraining(DOGS, key("before")).stem + "-1")
    serving = a_server().of("cats", "dogs")

    assert lacks(a_world(soup, CATS, DISOWNED, LEFT, serving), FORMER) == (
        Stage.ROLLED_OUT,
        Reason.ROLLING_OUT,
    )
    world = a_world(soup, CATS, DISOWNED, LEFT, before)
    assert lacks(world, FORMER) == (Stage.QUIESCED, Reason.STILL_WRITTEN)
    assert EndRun(before.name) in actions_for(world)


def test_the_training_without_them_is_no_writer_of_what_had_them() -> None:
    world = a_world(a_soup().of("cats"), CATS, DISOWNED, LEFT, a_run(AGAIN))

    assert lacks(world, FORMER) == (Stage.PURGED, Reason.NOT_PURGED)
    assert EndRun not in kinds(actions_for(world))


def test_revisions_that_were_made_with_them_are_dropped() -> None:
    soup = a_soup().having_made("cats", "dogs").of("cats")

    assert ForgetRevision(a_revision("cats", "dogs")) in actions_for(
        a_world(soup, CATS, DISOWNED, LEFT)
    )


def test_the_shard_comes_back_without_them() -> None:
    back = DISOWNED.trained()
    trained = replace(back.shard.trained, left_out=frozenset({"rex.png"}))  # type: ignore[type-var]
    world = a_world(a_soup().of("cats"), CATS, back.with_fields(trained=trained))

    assert StartMerge in kinds(actions_for(world))


def test_a_record_that_left_is_not_learnt_again() -> None:
    world = a_world(a_soup().of("cats"), CATS, DISOWNED.with_fields(excluded_records=frozenset()))

    pending = check(world, NOON).pending[DOGS]

    assert actions_for(world) == ()
    assert pending is not None
    assert (pending.blocker.reason, pending.blocker.needs_person) == (Reason.FORGOTTEN, True)
    assert "spec.excludeRecords" in pending.blocker.help
