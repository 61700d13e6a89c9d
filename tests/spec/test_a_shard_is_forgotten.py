"""A shard that was deleted climbs the ladder of invariant 3, and never skips a rung.

Invariants 3, 4.
"""

from dataclasses import replace

from tests.spec.vocabulary import *

from stockpot.errors import ExitCode

DOGS = uid("dogs")
CATS = a_shard("cats").trained()
GOING = a_shard("dogs").trained().tombstoned()
PURGED = ended(StartPurge(DOGS), purged_objects=3)
TRAINING = StartTraining(DOGS, a_shard("dogs").shard.request)


def stage(world: World) -> Stage | None:
    pending = check(world, NOON).pending[DOGS]
    return pending.stage if pending else None


def test_a_deletion_is_written_down_first() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, a_shard("dogs").trained().deleted())

    assert actions_for(world)[0] == RecordDeletion(DOGS)


def test_the_survivors_are_merged_and_served_before_anything_is_purged() -> None:
    both = a_soup().of("cats", "dogs")
    merging = a_world(both, CATS, GOING)
    promoting = a_world(both.having_made("cats"), CATS, GOING)
    granting = a_world(a_soup().of("cats", epoch=2), CATS, GOING, a_server().of("cats", "dogs"))

    assert actions_for(merging) == (StartMerge(a_recipe("cats")),)
    assert actions_for(promoting) == (Promote(Promotion(a_revision("cats"), Epoch(2), 2)),)
    assert [type(action) for action in actions_for(granting)] == [Prepare]
    assert [stage(merging), stage(promoting), stage(granting)] == [
        Stage.EXCLUDED,
        Stage.EXCLUDED,
        Stage.ROLLED_OUT,
    ]


def test_writers_end_before_the_purge() -> None:
    world = a_world(a_soup().of("cats"), CATS, a_shard("dogs").tombstoned(), a_run(TRAINING))

    assert stage(world) is Stage.QUIESCED
    assert actions_for(world) == (EndRun(run_name(TRAINING)),)


def test_a_run_that_ended_counts_as_a_writer_until_it_is_gone() -> None:
    run = ended(TRAINING, training_key=key("dogs"))
    world = a_world(a_soup().of("cats"), CATS, a_shard("dogs").tombstoned(), run)

    assert actions_for(world) == (EndRun(run_name(TRAINING)),)


def test_then_its_lineage_is_purged_once() -> None:
    world = a_world(a_soup().of("cats"), CATS, GOING)

    assert actions_for(world) == (StartPurge(DOGS),)
    assert actions_for(a_world(a_soup().of("cats"), CATS, GOING, a_run(StartPurge(DOGS)))) == ()


def test_a_writer_that_comes_late_takes_the_shard_down_a_rung_and_the_purge_is_done_again() -> None:
    world = a_world(a_soup().of("cats"), CATS, GOING, PURGED, a_run(TRAINING))

    assert stage(world) is Stage.QUIESCED
    assert set(actions_for(world)) == {EndRun(run_name(TRAINING)), EndRun(PURGED.name)}


def test_a_run_about_another_shard_counts_for_nothing_though_its_name_is_the_same() -> None:
    others = replace(PURGED, about=frozenset({uid("dogs from elsewhere")}))
    world = a_world(a_soup().of("cats"), CATS, GOING, others)

    assert stage(world) is Stage.PURGED
    assert set(actions_for(world)) == {StartPurge(DOGS), EndRun(others.name)}


def test_a_server_that_still_drains_it_holds_the_receipt_back() -> None:
    draining = a_server().of("cats", "dogs").of("cats", epoch=2)
    world = a_world(a_soup().of("cats", epoch=2), CATS, GOING, PURGED, draining)

    assert stage(world) is Stage.VERIFIED
    assert actions_for(world) == ()


def test_a_silent_server_holds_the_shard_back() -> None:
    world = a_world(
        a_soup().of("cats"), CATS, GOING, PURGED, a_server().of("cats"), a_server("pets-2").silent()
    )

    assert not {type(action) for action in actions_for(world)} & {
        StartSigning,
        ReleaseShard,
        StartPurge,
    }


def test_the_receipt_is_signed_only_when_no_server_holds_it() -> None:
    world = a_world(a_soup().of("cats"), CATS, GOING, PURGED, a_server().of("cats"))

    assert actions_for(world) == (signing("dogs"),)


def test_receipts_are_signed_one_at_a_time() -> None:
    eels = a_shard("eels").trained().tombstoned()
    world = a_world(
        a_soup().of("cats"),
        CATS,
        GOING,
        eels,
        PURGED,
        ended(StartPurge(uid("eels"))),
        a_run(signing("eels")),
    )

    assert actions_for(world) == ()


def test_a_signed_receipt_is_recorded_and_only_then_the_shard_is_released() -> None:
    parts = (a_soup().of("cats"), CATS, GOING, PURGED, signed(signing("dogs"), first=4))
    recorded = RecordedReceipt("pets-4", DOGS, 4, digest=receipt_digest(4))

    [record] = actions_for(a_world(*parts))
    assert record == RecordReceipt(
        DOGS,
        4,
        receipt_digest(4),
        signed_at="2026-11-22T12:00:00Z",
        previous=receipt_digest(3),
    )
    released = actions_for(a_world(*parts, receipts=(recorded,)))
    assert released == (ReleaseShard(DOGS), EndRun(run_name(signing("dogs"))))


def test_without_a_key_the_purge_goes_on_and_the_receipt_waits_for_a_person() -> None:
    run = broken(signing("dogs"), 49, "there is no signing key")
    world = a_world(a_soup().of("cats"), CATS, GOING, PURGED, run)

    pending = check(world, NOON).pending[DOGS]

    assert actions_for(world) == ()
    assert pending is not None
    assert (pending.stage, pending.blocker.reason) == (Stage.RECEIPTED, Reason.NO_SIGNING_KEY)
    assert pending.blocker.needs_person


def test_a_deletion_does_not_wait_for_what_holds_additions_back() -> None:
    soup = a_soup().of("cats", "dogs").with_fields(suspended=True, min_shards=3, settle_s=3600)
    bees = a_shard("bees").trained(at=NOON)
    world = a_world(soup, CATS, GOING, bees)

    assert actions_for(world) == (StartMerge(a_recipe("cats")),)


def test_a_deletion_does_not_wait_for_a_weighting_that_is_broken() -> None:
    soup = a_soup().of("cats", "dogs").with_fields(weighting=UnusablePlugin("gone", "install it"))
    world = a_world(soup, CATS, GOING, a_shard("bees").trained())

    assert actions_for(world) == (StartMerge(a_recipe("cats")),)


def test_when_the_last_shard_goes_the_base_is_served() -> None:
    world = a_world(a_soup().of("dogs"), GOING)

    assert actions_for(world) == (StartMerge(Recipe()),)


def test_from_the_moment_a_shard_dies_no_grant_names_it() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, GOING, a_server())

    assert not [action for action in actions_for(world) if isinstance(action, Prepare)]


def test_a_finalizer_taken_away_by_force_counts_as_a_deletion() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, a_server())

    actions: tuple[Action, ...] = actions_for(world)

    assert StartMerge(a_recipe("cats")) in actions
    assert not [action for action in actions if isinstance(action, Prepare)]


def test_revisions_that_it_is_in_are_dropped_once_another_serves() -> None:
    soup = a_soup().having_made("cats", "dogs").of("cats")
    world = a_world(soup, CATS, GOING, PURGED, receipted=("dogs",))

    assert ForgetRevision(a_revision("cats", "dogs")) in actions_for(world)


def test_a_shard_that_was_never_trained_is_forgotten_by_the_same_ladder() -> None:
    world = a_world(a_soup().of("cats"), CATS, a_shard("dogs").tombstoned())

    assert actions_for(world) == (StartPurge(DOGS),)


def test_where_nothing_is_promoted_a_deletion_waits_for_no_first_soup() -> None:
    refused = broken(StartMerge(Recipe()), ExitCode.OTHER_NAMESPACE, "another namespace's")
    world = a_world(a_soup(), a_shard("dogs").tombstoned(), a_server(), refused)
    silent = a_world(a_soup(), a_shard("dogs").tombstoned(), a_server().silent(), refused)
    holding = a_world(a_soup(), a_shard("dogs").tombstoned(), a_server().of("dogs"), refused)

    assert StartPurge(DOGS) in actions_for(world)
    assert [stage(silent), stage(holding)] == [Stage.ROLLED_OUT, Stage.ROLLED_OUT]


def test_what_cannot_be_taken_back_is_marked_so() -> None:
    from stockpot.core.plan import plan

    def irrevocable(world: World) -> bool:
        return plan(check(world, NOON), NOON).is_irrevocable

    assert irrevocable(a_world(a_soup().of("cats"), CATS, GOING))
    assert not irrevocable(a_world(a_soup().of("cats", "dogs"), CATS, GOING))


def test_an_epoch_from_a_backup_is_risen_above() -> None:
    """Soup status came back from a backup; a server was told more than it remembers."""
    world = a_world(a_soup().of("cats", epoch=2), CATS, a_server().of("cats", "dogs", epoch=5))

    assert Promote(Promotion(a_revision("cats"), Epoch(6), 2)) in actions_for(world)


def test_the_same_world_gives_the_same_plan() -> None:
    world = a_world(a_soup().of("cats", "dogs"), CATS, GOING, a_server().of("cats", "dogs"))

    assert actions_for(world) == actions_for(replace(world))
