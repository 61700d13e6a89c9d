"""A Soup is Ready when every shard that it should include is served as its spec asks.

Each sentence is about the conditions that people and programs wait for, and the one word of the
printer column.

Invariant 20.
"""

from dataclasses import replace

import pytest
from tests.spec.vocabulary import *

from stockpot.api.states import ShardState, SoupState
from stockpot.core.report import ConditionUpdate, SoupStatusReport

CATS = a_shard("cats").trained()
DOGS = a_shard("dogs").trained()
SERVER = a_server().of("cats")
TRAINING = StartTraining(uid("dogs"), a_shard("dogs").shard.request)


def report(world: World) -> SoupStatusReport:
    return report_of(check(world, NOON)).soup


def condition(world: World, kind: ConditionType) -> ConditionUpdate | None:
    return next((update for update in report(world).conditions if update.type is kind), None)


def is_so(world: World, kind: ConditionType) -> bool:
    update = condition(world, kind)
    return update is not None and update.so


def kstatus(world: World) -> tuple[bool, bool, bool]:
    kinds = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
    ready, reconciling, stalled = (is_so(world, kind) for kind in kinds)
    return ready, reconciling, stalled


READY, AT_WORK, STUCK = (True, False, False), (False, True, False), (False, False, True)


def state_of(world: World, name: str) -> ShardState:
    return next(
        each.state for each in report_of(check(world, NOON)).shards if each.shard == uid(name)
    )


def test_a_soup_that_serves_all_of_its_shards_is_ready() -> None:
    world = a_world(a_soup().of("cats"), CATS, SERVER)

    assert kstatus(world) == READY
    assert report(world).state is SoupState.SERVING


def test_a_soup_whose_shards_are_all_on_their_way_is_not_ready() -> None:
    world = a_world(a_soup().of(), a_shard("cats"), a_shard("dogs"), a_server().of())

    assert kstatus(world) == AT_WORK
    ready = condition(world, ConditionType.READY)
    assert ready
    assert ready.reason is Reason.NOT_TRAINED
    assert ready.message.startswith("2 shards are not served yet (cats, dogs): cats has no")
    assert report(world).state is SoupState.TRAINING


@pytest.mark.parametrize(
    "newcomer",
    [
        a_shard("dogs").not_held(),
        a_shard("dogs"),
        a_shard("dogs").trained().with_fields(comparison=None),
    ],
    ids=["not held", "not trained", "not compared"],
)
def test_a_soup_is_at_work_until_its_newcomer_is_served(newcomer) -> None:  # type: ignore[no-untyped-def]
    world = a_world(a_soup().of("cats"), CATS, newcomer, SERVER)

    assert kstatus(world) == AT_WORK
    assert report(world).state is SoupState.TRAINING


def test_a_soup_that_is_merged_is_at_work() -> None:
    world = a_world(a_soup().of("cats"), CATS, DOGS, SERVER)

    assert kstatus(world) == AT_WORK
    assert report(world).state is SoupState.MERGING


def test_the_reason_is_that_of_the_shard_that_is_farthest_behind() -> None:
    """Or there would be an Event for each step of each of a thousand shards."""
    ants = a_shard("ants").trained().with_fields(comparison=None)
    soup = a_soup().of("cats").with_fields(parallelism=1)
    shards = (ants, a_shard("bees"), CATS, a_shard("dogs"))
    world = a_world(soup, *shards, SERVER, a_run(TRAINING))

    ready = condition(world, ConditionType.READY)

    assert ready
    assert ready.reason is Reason.TRAINING
    assert ready.message == "3 shards are not served yet (ants, bees, dogs): dogs is being trained"


def test_a_shard_that_failed_for_good_stalls_the_soup() -> None:
    world = a_world(a_soup().of("cats"), CATS, a_shard("dogs"), SERVER, broken(TRAINING, 42))

    assert kstatus(world) == STUCK
    stalled = condition(world, ConditionType.STALLED)
    assert stalled
    assert "1 shard is not served (dogs): the training of dogs failed" in stalled.message
    assert report(world).state is SoupState.STALLED


def test_a_soup_with_one_shard_on_its_way_and_one_stuck_says_both() -> None:
    birds = a_shard("birds")
    world = a_world(a_soup().of("cats"), CATS, birds, a_shard("dogs"), SERVER, broken(TRAINING, 42))

    assert kstatus(world) == (False, True, True)
    kinds = [update.type for update in report(world).conditions]
    # kstatus reports the first of the two.
    assert kinds.index(ConditionType.RECONCILING) < kinds.index(ConditionType.STALLED)


def test_a_failed_shard_that_is_excluded_keeps_no_soup_from_being_ready() -> None:
    dogs = a_shard("dogs").set_aside()
    world = a_world(a_soup().of("cats"), CATS, dogs, SERVER, broken(TRAINING, 42))

    assert kstatus(world) == READY


@pytest.mark.parametrize(
    ("settings", "newcomer", "reason"),
    [
        ({"suspended": True}, DOGS, Reason.HELD_BY_SUSPEND),
        ({"suspended": True}, a_shard("dogs"), Reason.HELD_BY_SUSPEND),
        ({"min_shards": 3}, DOGS, Reason.HELD_BY_MIN_SHARDS),
    ],
)
def test_a_soup_that_holds_newcomers_back_as_asked_is_ready_and_counts_them(  # type: ignore[no-untyped-def]
    settings, newcomer, reason
) -> None:
    world = a_world(a_soup().of("cats").with_fields(**settings), CATS, newcomer, SERVER)

    assert kstatus(world) == READY
    held = condition(world, ConditionType.MEMBERS_HELD)
    assert held
    assert held.reason is reason
    assert held.message.startswith("1 shard is held back (dogs): ")
    assert report(world).state is SoupState.HELD
    assert state_of(world, "dogs") is ShardState.HELD


def test_nothing_is_held_back_where_nothing_waits() -> None:
    world = a_world(a_soup().of("cats").with_fields(suspended=True), CATS, SERVER)

    assert kstatus(world) == READY
    assert condition(world, ConditionType.MEMBERS_HELD) is None


def test_a_soup_that_waits_for_more_shards_to_follow_is_at_work() -> None:
    dogs = a_shard("dogs").trained(NOON)
    world = a_world(a_soup().of("cats").with_fields(settle_s=10), CATS, dogs, SERVER)

    assert kstatus(world) == AT_WORK
    assert condition(world, ConditionType.MEMBERS_HELD) is None


def test_a_soup_that_never_served_a_shard_is_not_ready() -> None:
    world = a_world(a_soup().of(), a_server().of())

    assert kstatus(world) == AT_WORK
    ready = condition(world, ConditionType.READY)
    assert ready
    assert ready.reason is Reason.NO_SHARDS
    assert "apply a DataShard with soupRef.name: pets" in ready.message
    assert report(world).state is SoupState.PENDING


def test_a_soup_whose_shards_are_all_excluded_never_served_one() -> None:
    world = a_world(a_soup().of(), CATS.set_aside(), a_server().of())

    ready = condition(world, ConditionType.READY)
    assert ready
    assert (ready.so, ready.reason) == (False, Reason.NO_SHARDS)
    assert "all of its 1 DataShards are Excluded" in ready.message


def test_a_soup_that_holds_its_first_shard_back_is_not_ready() -> None:
    world = a_world(a_soup().of().with_fields(min_shards=2), CATS, a_server().of())

    assert kstatus(world) == AT_WORK
    ready = condition(world, ConditionType.READY)
    assert ready
    assert ready.reason is Reason.HELD_BY_MIN_SHARDS


def test_a_soup_whose_last_shard_was_deleted_is_ready_and_serves_the_base() -> None:
    world = a_world(a_soup().of().with_fields(promotions=1), a_server().of())

    assert kstatus(world) == READY
    serving = condition(world, ConditionType.SERVING)
    assert serving
    assert serving.reason is Reason.BASE_SERVED


def test_a_soup_is_ready_once_the_survivors_are_served_though_a_shard_is_still_unlearned() -> None:
    leaving = a_shard("dogs").trained().tombstoned()
    soup = a_soup().of("cats", "dogs")
    merging = a_world(soup, CATS, leaving, a_server().of("cats", "dogs"))
    served = a_world(soup.of("cats", epoch=2), CATS, leaving, a_server().of("cats", epoch=2))

    assert kstatus(merging) == AT_WORK
    assert kstatus(served) == READY
    assert report(served).state is SoupState.UNLEARNING
    assert is_so(served, ConditionType.UNLEARNING)


def test_a_weight_that_is_not_served_yet_keeps_soup_and_shard_from_being_ready() -> None:
    world = a_world(
        a_soup().of("cats", "dogs"), CATS, DOGS.weighing("2"), a_server().of("cats", "dogs")
    )

    assert kstatus(world) == AT_WORK
    pending = check(world, NOON).pending[uid("dogs")]
    assert pending
    assert pending.blocker.reason is Reason.MERGING
    # It is in the soup nevertheless.
    assert state_of(world, "dogs") is ShardState.INCLUDED


def test_a_newcomer_changes_the_weight_of_no_shard() -> None:
    birds = a_shard("birds").trained().weighing("0.5")
    world = a_world(a_soup().of("cats", "dogs"), CATS, DOGS, birds, a_server().of("cats", "dogs"))

    assert check(world, NOON).pending[uid("cats")] is None


def test_servers_that_cannot_start_stall_the_soup() -> None:
    why = StartupBlocker(Reason.IMAGE_UNAVAILABLE, "the image x:2 is not there", "push it")
    world = replace(a_world(a_soup().of("cats"), CATS, SERVER), startup_blocker=why)

    assert kstatus(world) == STUCK


def test_servers_of_an_earlier_template_are_a_rollout() -> None:
    world = replace(a_world(a_soup().of("cats"), CATS, SERVER), is_rolled_out=False)

    assert kstatus(world) == AT_WORK
    assert report(world).state is SoupState.ROLLING_OUT


def test_a_server_that_serves_another_revision_is_a_rollout() -> None:
    soup = a_soup().of("cats").of("cats", "dogs", epoch=2)
    late = a_server("pets-2").of("cats")
    world = a_world(soup, CATS, DOGS, a_server().of("cats", "dogs", epoch=2), late)

    assert kstatus(world) == AT_WORK
    assert report(world).state is SoupState.ROLLING_OUT


def test_scaling_is_no_rollout() -> None:
    """An autoscaler adds and removes servers all the time."""
    world = a_world(a_soup().of("cats"), CATS, SERVER, a_server("pets-2"))
    wanting = replace(world, soup=replace(world.soup, replicas=5), replicas=5)

    assert kstatus(wanting) == READY
    serving = condition(wanting, ConditionType.SERVING)
    assert serving
    assert serving.message == "1 of 5 servers serve"


def test_a_server_that_was_granted_something_and_is_silent_may_serve_another_revision() -> None:
    world = a_world(a_soup().of("cats"), CATS, SERVER, a_server("pets-2").silent())

    assert kstatus(world) == AT_WORK


def test_a_soup_none_of_whose_servers_serve_is_not_ready() -> None:
    world = a_world(a_soup().of("cats"), CATS)
    wanting = replace(world, soup=replace(world.soup, replicas=2), replicas=2)

    assert kstatus(wanting) == AT_WORK


UNUSABLE = UnusablePlugin("there is no X", "did you mean Y?", Reason.UNKNOWN_METHOD)


@pytest.mark.parametrize("field", ["unknown", "unusable_evaluation"])
def test_a_soup_that_names_what_is_not_installed_is_stalled_before_it_has_a_shard(
    field: str,
) -> None:
    world = a_world(a_soup().of().with_fields(**{field: UNUSABLE}), a_server().of())

    assert is_so(world, ConditionType.STALLED)
    stalled = condition(world, ConditionType.STALLED)
    assert stalled
    assert stalled.message == "there is no X; help: did you mean Y?"


def test_no_two_fates_of_a_shard_print_alike() -> None:
    soup = a_soup().of("cats")
    leaving = a_shard("owls").trained().tombstoned()
    gone = a_shard("bats").trained().expired()
    things = (
        CATS,
        DOGS,
        a_shard("ants"),
        a_shard("bees").trained().set_aside(),
        a_shard("eels").trained().weighing("0"),
        leaving,
        gone,
    )
    world = a_world(soup, *things, SERVER, receipted=("bats",))
    names = ("cats", "dogs", "ants", "bees", "eels", "owls", "bats")

    states = [state_of(world, name) for name in names]

    assert states == [
        ShardState.INCLUDED,
        ShardState.TRAINED,
        ShardState.PENDING,
        ShardState.EXCLUDED,
        ShardState.WEIGHTLESS,
        ShardState.UNLEARNING,
        ShardState.EXPIRED,
    ]


def test_a_shard_that_trains_is_training_and_one_that_waits_for_a_slot_is_queued() -> None:
    soup = a_soup().of("cats").with_fields(parallelism=1)
    world = a_world(soup, CATS, a_shard("ants"), a_shard("dogs"), a_run(TRAINING), SERVER)

    assert state_of(world, "dogs") is ShardState.TRAINING
    assert state_of(world, "ants") is ShardState.QUEUED


def test_a_soup_that_is_deleted_says_so() -> None:
    world = a_world(a_soup().of("cats").with_fields(alive=False), CATS, SERVER)

    assert report(world).state is SoupState.DELETING
