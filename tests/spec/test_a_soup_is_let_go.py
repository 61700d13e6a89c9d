"""A Soup may go before its shards are unlearned, once what is owed is written down elsewhere."""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *

CATS = a_shard("cats").trained().tombstoned()
DOGS = a_shard("dogs").trained().tombstoned()
LATE = NOON + timedelta(hours=2)
AWAY = replace(
    a_run(StartPurge(uid("cats"))), failure=Failure(7, "the store does not answer", at=NOON)
)


def going(world: World, *, forced: bool = False, ends: bool = False, ledger: bool = True) -> World:
    soup = replace(world.soup, alive=False, is_forced=forced)
    return replace(world, soup=soup, namespace_terminates=ends, has_ledger=ledger)


def owed(target: object) -> object:
    return target.with_fields(is_owed=True)  # type: ignore[attr-defined]


def test_what_is_owed_is_written_down_before_any_finalizer_goes() -> None:
    world = going(a_world(a_soup(), CATS, DOGS, AWAY), forced=True)

    assert actions_for(world) == (WriteDebt((uid("cats"), uid("dogs"))),)


def test_shards_go_once_the_debt_is_observed_and_the_soup_after_them() -> None:
    written = going(a_world(a_soup(), owed(CATS), owed(DOGS), AWAY), forced=True)
    alone = going(a_world(a_soup(), AWAY), forced=True)

    assert actions_for(written) == (ReleaseShard(uid("cats")), ReleaseShard(uid("dogs")))
    assert actions_for(alone) == (ReleaseSoup(),)


def test_its_servers_are_scaled_down_before_it_goes() -> None:
    world = going(replace(a_world(a_soup()), replicas=1), forced=True)

    assert actions_for(world) == (Scale(0),)


def test_of_two_shards_the_one_that_is_not_written_down_keeps_both() -> None:
    world = going(a_world(a_soup(), owed(CATS), DOGS), forced=True)

    assert actions_for(world) == (WriteDebt((uid("dogs"),)),)


def test_a_shard_that_nobody_deleted_holds_a_forced_soup() -> None:
    living = going(a_world(a_soup(), CATS, a_shard("dogs").trained()), forced=True)
    expired = going(a_world(a_soup(), CATS, a_shard("dogs").trained().expired()), forced=True)

    for world in (living, expired):
        assert not any(isinstance(action, WriteDebt) for action in actions_for(world))
        assert ReleaseSoup() not in actions_for(world)
        blocker = check(world, NOON).soup
        assert blocker
        assert "its DataShards dogs are not" in blocker.message
        assert "delete its DataShards" in blocker.help


def test_a_namespace_that_ends_is_held_until_the_deadline_and_no_longer() -> None:
    world = going(a_world(a_soup(), CATS, DOGS, AWAY), ends=True)
    debt = WriteDebt((uid("cats"), uid("dogs")))

    assert debt not in actions_for(world)
    assert plan(check(world, LATE), LATE).actions == (debt,)


def test_a_namespace_that_lives_is_never_let_go_unasked() -> None:
    world = going(a_world(a_soup(), CATS, AWAY))

    assert not any(isinstance(a, WriteDebt) for a in plan(check(world, LATE), LATE).actions)


def test_nothing_is_let_go_where_there_is_no_place_for_a_debt() -> None:
    world = going(a_world(a_soup(), CATS, AWAY), forced=True, ledger=False)

    assert not any(isinstance(a, WriteDebt | ReleaseShard) for a in actions_for(world))


def test_a_soup_that_waits_says_for_what_and_how_it_goes_without() -> None:
    world = a_world(a_soup(), CATS, AWAY)

    waits = check(going(world), NOON).soup
    ends = check(going(world, ends=True), NOON).soup
    forced = check(going(world, forced=True), NOON).soup
    gone = check(replace(going(world), soup=replace(going(world).soup, is_gone=True)), NOON).soup

    assert waits
    assert ends
    assert forced
    assert gone
    assert "1 shard is to be unlearned: the purge of cats failed" in waits.message
    assert waits.reason is Reason.STORAGE_UNAVAILABLE
    assert "kubectl annotate soup pets stockpot.dev/force-delete=true" in waits.help
    assert "after unlearning.deadlineSeconds" in ends.help
    assert forced.reason is Reason.OWED
    assert "is gone, and 1 unlearning of it is owed" in gone.message
