"""A corrected setting cures what waits or failed for it; a person may ask for what failed again."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

from stockpot.core.retry import RetryRequest

SHARD = a_shard("cats")
TRAINING = StartTraining(uid("cats"), SHARD.shard.request)
MERGE = StartMerge(a_recipe("cats"))
WAITS = StartupBlocker(Reason.IMAGE_UNAVAILABLE, "the image x:1 is not there", "push it")
QUEUED = StartupBlocker(Reason.QUEUED, "its Job is in the queue gpus", "wait")
LOST = StartupBlocker(Reason.NODE_LOST, "the node n does not answer", "bring it back")


def waiting(start: Start, why: StartupBlocker, *, is_outdated: bool = True) -> Run:
    return replace(a_run(start), startup_blocker=why, is_outdated=is_outdated)


def failed_run(
    start: Start, attempt: int = 1, *, lacked: bool = False, is_outdated: bool = False
) -> Run:
    failure = Failure(137, "it was out of memory", "raise it", NOON, is_of_resource=lacked)
    run = broken(next_attempt(start, attempt), 137)
    return replace(run, failure=failure, is_outdated=is_outdated)


def test_a_run_that_waits_for_what_a_setting_has_given_since_starts_again() -> None:
    world = a_world(a_soup().of(), SHARD, waiting(TRAINING, WAITS))

    assert actions_for(world) == (EndRun(run_name(TRAINING)),)
    assert actions_for(a_world(a_soup().of(), SHARD)) == (TRAINING,)


def test_a_merge_that_waits_for_it_starts_again_as_well() -> None:
    world = a_world(a_soup().of(), SHARD.trained(), waiting(MERGE, WAITS))

    assert actions_for(world) == (EndRun(run_name(MERGE)),)


def test_a_run_keeps_waiting_while_its_settings_are_the_same() -> None:
    world = a_world(a_soup().of(), SHARD, waiting(TRAINING, WAITS, is_outdated=False))

    assert actions_for(world) == ()


@pytest.mark.parametrize("why", [QUEUED, LOST])
def test_a_run_that_no_setting_helps_keeps_its_place(why: StartupBlocker) -> None:
    world = a_world(a_soup().of(), SHARD, waiting(TRAINING, why))

    assert actions_for(world) == ()


def test_a_run_that_is_under_way_is_left_alone_whatever_changed() -> None:
    world = a_world(a_soup().of(), SHARD, replace(a_run(TRAINING), is_outdated=True))

    assert actions_for(world) == ()


def test_attempts_that_lacked_what_a_setting_has_given_since_do_not_count() -> None:
    lacked = [failed_run(TRAINING, n, lacked=True, is_outdated=True) for n in (1, 2, 3)]
    world = a_world(a_soup().of(), SHARD, *lacked)

    assert actions_for(world) == (next_attempt(TRAINING, 4),)
    pending = check(world, NOON).pending[uid("cats")]
    assert pending
    assert not pending.blocker.needs_person
    again = a_world(a_soup().of(), SHARD, *lacked, failed_run(TRAINING, 4))
    assert actions_for(again, NOON + timedelta(seconds=5)) == (next_attempt(TRAINING, 5),)


def test_attempts_that_lacked_it_count_while_the_settings_are_the_same() -> None:
    runs = [failed_run(TRAINING, n, lacked=True) for n in (1, 2, 3)]
    world = a_world(a_soup().of(), SHARD, *runs)

    assert actions_for(world, NOON + timedelta(hours=1)) == ()


def test_attempts_that_failed_for_another_reason_count_whatever_changed() -> None:
    runs = [failed_run(TRAINING, n, is_outdated=True) for n in (1, 2, 3)]
    world = a_world(a_soup().of(), SHARD, *runs)

    assert actions_for(world, NOON + timedelta(hours=1)) == ()


def test_what_failed_for_good_is_tried_again_when_somebody_asks() -> None:
    runs = [failed_run(TRAINING, n) for n in (1, 2, 3)]
    asking = SHARD.with_fields(retry=RetryRequest("now"))
    name = run_name(next_attempt(TRAINING, 3))

    assert actions_for(a_world(a_soup().of(), asking, *runs)) == (
        RecordRetry(uid("cats"), "now", (name,)),
    )
    recorded = SHARD.with_fields(retry=RetryRequest("now", "now", (name,)))
    assert actions_for(a_world(a_soup().of(), recorded, *runs)) == (next_attempt(TRAINING, 4),)


def test_attempts_count_from_the_request() -> None:
    name = run_name(next_attempt(TRAINING, 3))
    shard = SHARD.with_fields(retry=RetryRequest("now", "now", (name,)))
    later = NOON + timedelta(hours=1)

    def world(attempts: int) -> World:
        runs = [failed_run(TRAINING, n) for n in range(1, attempts + 1)]
        return a_world(a_soup().of(), shard, *runs)

    assert actions_for(world(5), later) == (next_attempt(TRAINING, 6),)
    assert actions_for(world(6), later) == ()


def test_a_request_does_not_wait_for_the_next_try() -> None:
    run = failed_run(TRAINING)
    shard = SHARD.with_fields(retry=RetryRequest("now", "now", (run.name,)))

    assert actions_for(a_world(a_soup().of(), shard, run)) == (next_attempt(TRAINING, 2),)


def test_a_request_about_a_shard_that_has_not_failed_is_recorded_and_changes_nothing() -> None:
    asking = SHARD.with_fields(retry=RetryRequest("now"))

    assert actions_for(a_world(a_soup().of(), asking, a_run(TRAINING))) == (
        RecordRetry(uid("cats"), "now", ()),
    )


def test_a_failed_merge_is_tried_again_when_somebody_asks_the_soup() -> None:
    runs = [failed_run(MERGE, n) for n in (1, 2, 3)]
    name = run_name(next_attempt(MERGE, 3))
    asking = a_soup().of().with_fields(retry=RetryRequest("now"))
    recorded = a_soup().of().with_fields(retry=RetryRequest("now", "now", (name,)))

    assert actions_for(a_world(asking, SHARD.trained(), *runs)) == (
        RecordRetry(None, "now", (name,)),
    )
    assert actions_for(a_world(recorded, SHARD.trained(), *runs)) == (next_attempt(MERGE, 4),)


def test_the_condition_of_what_failed_for_good_names_the_command() -> None:
    training = a_world(a_soup().of(), SHARD, *[failed_run(TRAINING, n) for n in (1, 2, 3)])
    merge = a_world(a_soup().of(), SHARD.trained(), *[failed_run(MERGE, n) for n in (1, 2, 3)])

    pending = check(training, NOON).pending[uid("cats")]
    assert pending
    assert pending.blocker.help == "raise it; then: stockpot retry shard/cats"
    lacks = check(merge, NOON).soup
    assert lacks
    assert lacks.help == "raise it; then: stockpot retry soup/pets"


def test_what_is_tried_again_by_itself_names_no_command() -> None:
    pending = check(a_world(a_soup().of(), SHARD, failed_run(TRAINING)), NOON).pending[uid("cats")]

    assert pending
    assert pending.blocker.help == "raise it"
