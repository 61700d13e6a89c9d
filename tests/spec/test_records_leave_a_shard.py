"""Records leave a shard: out of the soup at once, trained without them, receipt of its own."""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *

DOGS, CATS = uid("dogs"), a_shard("cats").trained()
OLD = Ingredient(DOGS, key("dogs"))
FORMER = former_of(OLD)
WITH_EXCLUSION = a_shard("dogs").trained().with_fields(excluded_records=frozenset({"rex.png"}))
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
