"""What failed is tried again in time; what cannot go on says what a person has to do."""

from dataclasses import replace
from datetime import datetime, timedelta

from tests.spec.vocabulary import *

TRAINING = StartTraining(uid("cats"), a_shard("cats").shard.request)
PURGE = StartPurge(uid("dogs"))
GOING = a_shard("dogs").trained().tombstoned()


def failed_at(start: Start, exit_code: int | None, at: datetime, attempt: int = 1) -> Run:
    run = broken(next_attempt(start, attempt), exit_code)
    return replace(run, failure=Failure(exit_code, "it was killed", "do better", at))


def assessment(world: World) -> Assessment:
    return check(world, NOON)


def test_a_killed_training_is_tried_again_after_a_while_and_not_before() -> None:
    run = failed_at(TRAINING, None, NOON - timedelta(seconds=4))
    world = a_world(a_soup().of(), a_shard("cats"), run)

    assert actions_for(world) == ()
    assert assessment(world).wake_at == NOON + timedelta(seconds=1)
    assert actions_for(world, NOON + timedelta(seconds=1)) == (next_attempt(TRAINING, 2),)


def test_each_try_waits_twice_as_long_as_the_one_before() -> None:
    runs = [failed_at(TRAINING, None, NOON, attempt) for attempt in (1, 2)]
    world = a_world(a_soup().of(), a_shard("cats"), *runs)

    assert assessment(world).wake_at == NOON + timedelta(seconds=10)


def test_a_shard_that_waits_for_its_next_try_is_not_stalled_and_says_when() -> None:
    world = a_world(a_soup().of(), a_shard("cats"), failed_at(TRAINING, None, NOON))

    pending = assessment(world).pending[uid("cats")]

    assert pending
    assert pending.stage is Stage.TRAINED
    assert not pending.blocker.needs_person
    assert "it is tried again at 12:00:05 UTC" in pending.blocker.message


def test_a_store_that_is_away_is_waited_for_however_often_it_was() -> None:
    runs = [failed_at(TRAINING, ExitCode.STORAGE, NOON, attempt) for attempt in (1, 2, 3, 4)]
    world = a_world(a_soup().of(), a_shard("cats"), *runs)

    pending = assessment(world).pending[uid("cats")]

    assert pending
    assert pending.blocker.reason is Reason.STORAGE_UNAVAILABLE
    assert actions_for(world, NOON + timedelta(minutes=5)) == (next_attempt(TRAINING, 5),)


def test_a_purge_is_tried_for_ever_even_where_it_says_that_it_is_no_use() -> None:
    run = failed_at(PURGE, ExitCode.NO_SIGNING_KEY, NOON, attempt=9)
    world = a_world(a_soup().of("cats"), a_shard("cats").trained(), GOING, run)

    pending = assessment(world).pending[uid("dogs")]

    assert pending
    assert pending.blocker.needs_person
    assert actions_for(world, NOON + timedelta(hours=1)) == (next_attempt(PURGE, 10),)


def test_only_the_last_attempts_at_a_purge_are_kept() -> None:
    runs = [failed_at(PURGE, ExitCode.STORAGE, NOON, attempt) for attempt in (1, 2, 3, 4)]
    world = a_world(a_soup().of("cats"), a_shard("cats").trained(), GOING, *runs)

    assert actions_for(world) == (EndRun(run_name(PURGE)),)


def test_a_startup_blocker_is_reported_with_what_to_do() -> None:
    why = StartupBlocker(Reason.IMAGE_UNAVAILABLE, "the image x:1 is not there", "push it")
    world = a_world(a_soup().of(), a_shard("cats"), replace(a_run(TRAINING), startup_blocker=why))

    pending = assessment(world).pending[uid("cats")]

    assert pending
    assert pending.blocker.reason is Reason.IMAGE_UNAVAILABLE
    assert pending.blocker.needs_person
    assert pending.blocker.message == "the training of cats waits: the image x:1 is not there"
    assert pending.blocker.help == "push it"
    assert actions_for(world) == ()


def test_a_training_whose_job_is_in_a_queue_is_queued_and_needs_nobody() -> None:
    why = StartupBlocker(Reason.QUEUED, "its Job train-1 is in the queue gpus", "wait")
    world = a_world(a_soup().of(), a_shard("cats"), replace(a_run(TRAINING), startup_blocker=why))

    pending = assessment(world).pending[uid("cats")]

    assert pending
    assert pending.blocker.reason is Reason.QUEUED
    assert not pending.blocker.needs_person
    assert pending.blocker.message.endswith("waits: its Job train-1 is in the queue gpus")


def test_servers_that_cannot_start_stall_the_soup_and_hold_no_deletion_back() -> None:
    why = StartupBlocker(Reason.UNSCHEDULABLE, "no node has 1 nvidia.com/gpu", "add one")
    soup = a_soup().of("cats")
    world = a_world(soup, a_shard("cats").trained(), GOING, a_server().of("cats"))
    world = replace(world, soup=replace(world.soup, replicas=2), replicas=2, startup_blocker=why)

    lacks = assessment(world).soup

    assert lacks
    assert lacks.reason is Reason.UNSCHEDULABLE
    assert actions_for(world) == (PURGE,)


def test_a_soup_without_a_server_that_serves_it_is_not_ready() -> None:
    world = a_world(a_soup().of("cats"), a_shard("cats").trained())
    world = replace(world, soup=replace(world.soup, replicas=2), replicas=2)

    lacks = assessment(world).soup

    assert lacks
    assert lacks.reason is Reason.SERVER_NOT_RUNNING
    assert lacks.message == "0 of 2 servers are running"


def test_a_namespace_that_an_admin_has_to_let_in_is_stalled_and_tried_for_ever() -> None:
    runs = [failed_at(TRAINING, ExitCode.OTHER_NAMESPACE, NOON, attempt) for attempt in (1, 2, 9)]
    world = a_world(a_soup().of(), a_shard("cats"), *runs)

    pending = assessment(world).pending[uid("cats")]

    assert pending
    assert pending.blocker.reason is Reason.OTHER_NAMESPACE
    assert pending.blocker.needs_person
    assert actions_for(world, NOON + timedelta(minutes=5)) == (next_attempt(TRAINING, 10),)


def test_a_clock_that_was_set_back_holds_up_no_retry() -> None:
    run = failed_at(PURGE, ExitCode.STORAGE, NOON)
    world = a_world(a_soup().of("cats"), a_shard("cats").trained(), GOING, run)

    assert actions_for(world, NOON - timedelta(seconds=30)) == ()
    assert actions_for(world, NOON - timedelta(days=1)) == (next_attempt(PURGE, 2),)
    assert actions_for(world, NOON + timedelta(days=1)) == (next_attempt(PURGE, 2),)


def test_a_clock_that_was_set_back_holds_up_no_purge_after_an_incomplete_receipt() -> None:
    going = a_shard("dogs").trained().tombstoned().with_fields(incomplete=1, last_receipt=1)
    start = StartPurge(uid("dogs"), after=1)
    run = replace(ended(start, residual_count=1, residuals=("pets/planted",)), ended_at=NOON)
    world = a_world(a_soup().of("cats"), a_shard("cats").trained(), going, run)

    assert actions_for(world, NOON - timedelta(minutes=10)) == ()
    assert actions_for(world, NOON - timedelta(days=1)) == (next_attempt(start, 2),)
