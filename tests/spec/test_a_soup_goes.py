"""A Soup that is deleted serves nothing, and stays until the last of its shards is forgotten."""

from dataclasses import replace

from tests.spec.vocabulary import *

CATS = a_shard("cats").trained()
GOING = a_shard("cats").trained().tombstoned()
PURGED = ended(StartPurge(uid("cats")), purged_objects=3)
SIGNED = signed(signing("cats"))
MERGE = StartMerge(a_recipe("cats"))
TRAINING = StartTraining(uid("dogs"), a_shard("dogs").shard.request)


def going(world: World, **fields: object) -> World:
    soup = replace(world.soup, alive=False, **fields)  # type: ignore[arg-type]
    return replace(world, soup=soup)


def test_a_soup_is_held_before_anything_of_it_is_made() -> None:
    world = a_world(a_soup().with_fields(held=False), a_shard("cats").not_held())

    assert HoldSoup() in actions_for(world)


def test_its_servers_go_first() -> None:
    world = going(a_world(a_soup().of("cats"), CATS, a_server().of("cats")))

    assert actions_for(world) == (Scale(0),)


def test_nothing_is_trained_or_merged_for_it() -> None:
    world = going(a_world(a_soup().of(), CATS, a_shard("dogs"), a_run(TRAINING), a_run(MERGE)))

    assert set(actions_for(world)) == {EndRun(run_name(TRAINING)), EndRun(run_name(MERGE))}


def test_it_waits_for_shards_that_are_not_deleted() -> None:
    assert actions_for(going(a_world(a_soup().of("cats"), CATS))) == ()


def test_a_shard_is_purged_once_no_server_is_left() -> None:
    serving = going(a_world(a_soup().of("cats"), GOING, a_server().of("cats")))
    alone = going(a_world(a_soup().of("cats"), GOING))

    assert actions_for(serving) == (Scale(0),)
    assert StartPurge(uid("cats")) in actions_for(alone)


def test_a_shard_stays_until_its_own_receipt_is_recorded_however_many_others_are() -> None:
    world = a_world(a_soup(), GOING, PURGED, SIGNED)

    for receipts in (0, 1, 9):
        actions = actions_for(going(world, receipts=receipts))
        assert ReleaseShard(uid("cats")) not in actions
        assert [type(action) for action in actions] == [RecordReceipt]


def test_a_soup_stays_while_a_shard_without_a_finalizer_is_to_be_forgotten() -> None:
    stripped = CATS.not_held().expired()
    trained = CATS.with_fields(held=False)

    assert ReleaseSoup() not in actions_for(going(a_world(a_soup(), stripped)))
    assert actions_for(going(a_world(a_soup(), trained))) == (HoldShard(uid("cats")),)


def test_it_goes_last() -> None:
    world = going(a_world(a_soup().of("cats")))

    assert ReleaseSoup() in actions_for(world)
    assert ReleaseSoup() not in actions_for(replace(world, runs=(PURGED,)))
    assert ReleaseSoup() not in actions_for(replace(world, targets=(GOING.target,)))


def test_its_servers_are_scaled_down_before_it_goes() -> None:
    actions = actions_for(going(replace(a_world(a_soup().of("cats")), replicas=1)))

    assert Scale(0) in actions
    assert ReleaseSoup() not in actions
