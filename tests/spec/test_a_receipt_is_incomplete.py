"""What cannot be confirmed is said in a receipt, and the shard stays until nothing is missing."""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *

DOGS = uid("dogs")
CATS = a_shard("cats").trained()
GOING = a_shard("dogs").trained().tombstoned()
ONCE_MORE = GOING.with_fields(incomplete=1, last_receipt=4)
INCOMPLETE = RecordedReceipt("pets-4", DOGS, 4, is_complete=False)
COMPLETE = RecordedReceipt("pets-5", DOGS, 5)
PURGED = ended(StartPurge(DOGS))
AN_HOUR_LATER = NOON + timedelta(seconds=3600)
LOST = ServerGrant("pets-0", "uid of pets-0", "node-7")


def left(after: int, count: int, at: object = None, attempt: int = 1) -> Run:
    """A purge that found objects of unknown lineage."""
    purge = StartPurge(DOGS, attempt, after)
    run = ended(purge, residual_count=count, residuals=("ml/soups/stray",))
    return replace(run, ended_at=at)  # type: ignore[arg-type]


def lacks(world: World, now: object = NOON) -> tuple[Stage, Blocker] | None:
    pending = check(world, now).pending[DOGS]  # type: ignore[arg-type]
    return (pending.stage, pending.blocker) if pending else None


def test_an_incomplete_receipt_is_recorded_and_frees_nothing() -> None:
    run = signed(signing("dogs"), first=4, residuals=2)
    fresh = a_world(a_soup().of("cats"), CATS, GOING, PURGED, run)
    after = a_world(a_soup().of("cats"), CATS, ONCE_MORE, run, receipts=(INCOMPLETE,))

    [record] = actions_for(fresh)
    assert isinstance(record, RecordReceipt)
    assert (record.sequence, record.is_complete, record.residuals) == (4, False, 2)
    assert ReleaseShard(DOGS) not in actions_for(after)
    assert StartPurge(DOGS, after=1) in actions_for(after), "it is purged once more"
    assert EndRun(run.name) in actions_for(after)


def test_what_was_left_is_named_and_looked_at_ever_less_often() -> None:
    world = a_world(
        a_soup().of("cats"), CATS, ONCE_MORE, left(1, 2, NOON, attempt=3), receipts=(INCOMPLETE,)
    )

    lacking = lacks(world)

    assert lacking is not None
    stage, blocker = lacking
    assert (stage, blocker.reason, blocker.needs_person) == (
        Stage.PURGED,
        Reason.RESIDUALS_LEFT,
        True,
    )
    assert "2 objects of unknown lineage" in blocker.message
    assert "ml/soups/stray, …" in blocker.message
    assert "stockpot strays -n ml --store STORE --remove" in blocker.help
    assert blocker.wake_at == NOON + timedelta(seconds=20)
    assert actions_for(world) == ()
    assert actions_for(world, NOON + timedelta(seconds=20)) == (StartPurge(DOGS, 4, 1),)


def test_locked_objects_are_told_apart_from_objects_of_unknown_lineage() -> None:
    run = left(1, 5, NOON, attempt=3)
    assert run.result
    run = replace(run, result=run.result.model_copy(update={"locked_count": 3}))

    lacking = lacks(a_world(a_soup().of("cats"), CATS, ONCE_MORE, run, receipts=(INCOMPLETE,)))

    assert lacking is not None
    assert "2 objects of unknown lineage and 3 objects that a bucket lock" in lacking[1].message
    assert "when their lock ends" in lacking[1].help


def test_the_next_receipt_is_signed_when_nothing_is_left() -> None:
    world = a_world(a_soup().of("cats"), CATS, ONCE_MORE, left(1, 0), receipts=(INCOMPLETE,))

    assert actions_for(world) == (signing("dogs", after=1),)


def test_a_complete_receipt_after_it_frees_the_shard() -> None:
    world = a_world(
        a_soup().of("cats"), CATS, ONCE_MORE, left(1, 0), receipts=(INCOMPLETE, COMPLETE)
    )

    assert actions_for(world) == (ReleaseShard(DOGS),)


def test_a_server_is_written_down_before_its_first_grant() -> None:
    world = a_world(a_soup().of("cats"), CATS, a_server())

    [action] = actions_for(world)

    assert action == RecordServer(ServerGrant("pets-1", "uid of pets-1"))


def test_a_server_that_is_written_down_is_granted_what_was_promoted() -> None:
    soup = a_soup().of("cats").with_fields(granted=(ServerGrant("pets-1", "uid of pets-1"),))

    assert [type(action) for action in actions_for(a_world(soup, CATS, a_server()))] == [Prepare]


def test_a_server_leaves_the_list_only_when_its_end_is_confirmed() -> None:
    soup = a_soup().of("cats").with_fields(granted=(LOST,))

    assert actions_for(a_world(soup, CATS)) == ()
    assert actions_for(a_world(soup, CATS, ended=("pets-0",))) == (ForgetServer(LOST.uid),)


def test_a_pod_that_vanished_holds_the_receipt_back_and_says_what_to_do() -> None:
    soup = a_soup().of("cats").with_fields(granted=(LOST,))
    world = a_world(soup, CATS, GOING, PURGED)

    lacking = lacks(world)

    assert lacking is not None
    stage, blocker = lacking
    assert (stage, blocker.reason) == (Stage.VERIFIED, Reason.UNREACHABLE_NODE)
    assert "pets-0" in blocker.message
    assert "node-7" in blocker.message
    assert "node.kubernetes.io/out-of-service" in blocker.help
    assert blocker.needs_person
    assert actions_for(world) == ()


def test_past_the_deadline_it_becomes_part_of_an_incomplete_receipt() -> None:
    soup = a_soup().of("cats").with_fields(granted=(LOST,))
    silent = a_server().of("cats").silent()
    world = a_world(soup, CATS, GOING, PURGED, silent)

    [start] = actions_for(world, AN_HOUR_LATER)

    assert isinstance(start, StartSigning)
    [due] = start.receipts
    assert len(due.missing) == 2
    assert all(text.startswith("UnreachableNode: pets-") for text in due.missing)


def test_after_an_incomplete_receipt_it_waits_for_as_long_as_it_takes() -> None:
    soup = a_soup().of("cats").with_fields(granted=(LOST,))
    again = left(1, 0)
    vanished = a_world(soup, CATS, ONCE_MORE, again, receipts=(INCOMPLETE,))
    confirmed = a_world(soup, CATS, ONCE_MORE, again, receipts=(INCOMPLETE,), ended=("pets-0",))

    assert actions_for(vanished, AN_HOUR_LATER) == ()
    assert signing("dogs", after=1) in actions_for(confirmed, AN_HOUR_LATER)


def test_a_server_that_answers_and_holds_it_is_waited_for_past_any_deadline() -> None:
    draining = a_server().of("cats", "dogs").of("cats", epoch=2)
    world = a_world(a_soup().of("cats", epoch=2), CATS, GOING, PURGED, draining)

    assert actions_for(world, AN_HOUR_LATER) == ()


def test_past_the_deadline_a_writer_that_does_not_end_is_named() -> None:
    training = a_run(StartTraining(DOGS, a_shard("dogs").shard.request))
    world = a_world(a_soup().of("cats"), CATS, GOING, PURGED, training)

    assessment = check(world, AN_HOUR_LATER)

    assert missing(GOING.target, assessment.inputs) == (
        f"StillWritten: {training.name} has not ended",
    )
    assert EndRun(training.name) in actions_for(world, AN_HOUR_LATER)


def test_the_deadline_is_a_time_to_look_again() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, GOING)

    assert check(world, NOON).due_at == AN_HOUR_LATER
    assert check(world, AN_HOUR_LATER).due_at is None


def test_past_the_deadline_the_base_is_served_where_the_survivors_are_not_merged() -> None:
    soup = a_soup().of("cats", "dogs").having_made()
    failing = broken(StartMerge(a_soup().of("cats").soup.made[0].recipe), 46)
    world = a_world(soup, CATS, GOING, failing)

    assert not [action for action in actions_for(world) if isinstance(action, Promote)]
    [promote] = [
        action for action in actions_for(world, AN_HOUR_LATER) if isinstance(action, Promote)
    ]
    assert promote.promotion.revision.recipe == Recipe()


def test_the_survivors_come_back_once_they_are_merged() -> None:
    soup = a_soup().having_made("cats").of()
    world = a_world(soup, CATS, GOING)

    [promote] = [
        action for action in actions_for(world, AN_HOUR_LATER) if isinstance(action, Promote)
    ]

    assert promote.promotion.revision == a_soup().of("cats").soup.made[0]


def test_the_soup_says_that_a_deadline_has_passed() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, GOING)

    updates = {
        condition.type: condition
        for condition in report_of(check(world, AN_HOUR_LATER)).soup.conditions
    }

    assert updates[ConditionType.UNLEARNING].reason is Reason.DEADLINE_PASSED
    assert "dogs" in updates[ConditionType.UNLEARNING].message


def test_the_object_of_a_forced_shard_goes_once_the_soup_has_recorded_it() -> None:
    soup = a_soup().of("cats", "dogs")

    before = actions_for(a_world(soup, CATS, GOING.forced()))
    after = actions_for(a_world(soup, CATS, GOING.forced(is_recorded=True)))

    assert RecordDeletion(DOGS) in before
    assert ReleaseShard(DOGS) not in before
    assert ReleaseShard(DOGS) in after


def test_a_forced_target_has_an_incomplete_receipt_first_and_does_not_wait() -> None:
    gone = a_shard("dogs").trained().lost().forced()
    silent = a_server().of("cats").silent()
    world = a_world(a_soup().of("cats"), CATS, gone, PURGED, silent)

    [start] = actions_for(world)

    assert isinstance(start, StartSigning)
    [due] = start.receipts
    assert due.missing[0].startswith("ForceDeleted")
    assert len(due.missing) == 2
    again = gone.with_fields(incomplete=1)
    later = a_world(a_soup().of("cats"), CATS, again, left(1, 0), silent, receipts=(INCOMPLETE,))
    assert not [action for action in actions_for(later) if isinstance(action, StartSigning)]


def test_an_epoch_is_risen_above_though_the_revision_it_promoted_is_gone() -> None:
    soup = a_soup().having_made().with_fields(epoch=Epoch(3))

    [promote] = [action for action in actions_for(a_world(soup)) if isinstance(action, Promote)]

    assert promote.promotion.epoch == Epoch(4)
