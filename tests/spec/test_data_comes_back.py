"""What leaves otherwise than by a deletion, and what comes back only when it is named."""

from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

DOGS = uid("dogs")
CATS = a_shard("cats").trained()
SOURCE, DATA = digest_of_bytes(b"a folder"), digest_of_bytes(b"cats")
RECEIPT = RecordedReceipt("pets-7", uid("old"), 7, source=SOURCE, data=DATA, requested_at=NOON)
DOGS_SHARD = a_shard("dogs").trained()
EXPIRED = DOGS_SHARD.expired()


def test_data_that_was_unlearned_is_not_trained_again_by_accident() -> None:
    world = a_world(a_soup().of(), a_shard("new").with_fields(source=SOURCE), receipts=(RECEIPT,))

    pending = check(world, NOON).pending[uid("new")]

    assert actions_for(world) == ()
    assert pending is not None
    assert (pending.stage, pending.blocker.reason) == (Stage.TRAINED, Reason.FORGOTTEN)
    assert pending.blocker.needs_person
    assert "spec.relearn: pets-7" in pending.blocker.help


def test_the_same_records_from_elsewhere_are_known_again_after_the_training() -> None:
    back = a_shard("new").trained(at=NOON + timedelta(hours=1)).with_fields(data=DATA)
    world = a_world(a_soup().of(), back, receipts=(RECEIPT,))

    assert not [action for action in actions_for(world) if isinstance(action, StartMerge)]


def test_another_donors_equal_data_that_was_learnt_before_stays() -> None:
    other = a_shard("cats").trained(at=LONG_AGO).with_fields(data=DATA)
    world = a_world(a_soup().of("cats"), other, receipts=(RECEIPT,))

    assert actions_for(world) == ()


def test_who_names_the_last_receipt_may_learn_it_again() -> None:
    earlier = RecordedReceipt("pets-3", uid("older"), 3, source=SOURCE)
    named = a_shard("new").with_fields(source=SOURCE, relearn="pets-7")
    outdated = a_shard("new").with_fields(source=SOURCE, relearn="pets-3")
    receipts = (earlier, RECEIPT)

    assert [
        type(action) for action in actions_for(a_world(a_soup().of(), named, receipts=receipts))
    ] == [StartTraining]
    assert actions_for(a_world(a_soup().of(), outdated, receipts=receipts)) == ()


def test_a_shard_that_expired_climbs_the_same_ladder() -> None:
    observed = a_world(a_soup().of("cats"), CATS, DOGS_SHARD.expired(None))
    out = a_world(a_soup().of("cats"), CATS, EXPIRED)

    assert actions_for(observed)[0] == RecordDeletion(DOGS)
    assert actions_for(out) == (StartPurge(DOGS),)


def test_the_object_of_an_expired_shard_stays_and_no_action_follows() -> None:
    world = a_world(a_soup().of("cats"), CATS, EXPIRED, receipted=("dogs",))

    assert actions_for(world) == ()
    assert check(world, NOON).pending[DOGS] is None


def test_an_expired_shard_with_a_receipt_is_no_deletion_in_flight_at_later_promotions() -> None:
    rolling_out = a_world(
        a_soup().of("cats", epoch=2),
        *(CATS, EXPIRED, a_server().of("cats")),
        receipted=("dogs",),
    )

    assert check(rolling_out, NOON).pending[DOGS] is None
    assert report_of(check(rolling_out, NOON)).soup.deleting == 0


def test_what_a_server_still_holds_of_an_expired_shard_is_looked_at_again() -> None:
    held = a_server().of("cats", "dogs")
    world = a_world(a_soup().of("cats", epoch=2), CATS, EXPIRED, held, receipted=("dogs",))

    assert check(world, NOON).pending[DOGS] is not None


def test_the_next_round_is_due_when_a_shard_expires() -> None:
    at = NOON + timedelta(days=40)

    assert check(a_world(a_soup().of("cats"), CATS.with_fields(expires_at=at)), NOON).due_at == at


@pytest.mark.parametrize("deadline_s", [1, 3600, 4 * 3600, 30 * 86_400])
def test_it_is_due_then_whatever_the_deadline_of_another_unlearning_is(deadline_s: int) -> None:
    at, going = NOON + timedelta(hours=3), a_shard("eels").trained().tombstoned()
    soup = a_soup().of("cats").with_fields(deadline_s=deadline_s)
    world = a_world(soup, CATS.with_fields(expires_at=at), going)
    requested_at = going.target.requested_at
    assert requested_at is not None
    deadline = requested_at + timedelta(seconds=deadline_s)

    assert check(world, NOON).due_at == min(time for time in (at, deadline) if time > NOON)


def test_without_shards_there_are_no_servers_where_the_soup_scales_to_zero() -> None:
    soup = a_soup().of(epoch=2).with_fields(scales_to_zero=True, promotions=1)
    world = a_world(soup, a_server().of(epoch=2))

    assert actions_for(world) == (Scale(0),)


def test_a_soup_that_never_learnt_anything_serves_the_base() -> None:
    soup = a_soup().of().with_fields(scales_to_zero=True)

    assert actions_for(a_world(soup, a_server().of())) == ()


def test_a_shard_that_went_by_force_climbs_the_ladder_without_an_object() -> None:
    lost = DOGS_SHARD.lost()
    noticed = a_world(a_soup().of("cats"), CATS, DOGS_SHARD.lost(None))
    noted = a_world(a_soup().of("cats"), CATS, lost)
    done = a_world(a_soup().of("cats"), CATS, lost, ended(StartPurge(DOGS)), receipted=("dogs",))

    assert actions_for(noticed)[0] == RecordDeletion(DOGS)
    assert actions_for(noted) == (StartPurge(DOGS),)
    assert ReleaseShard(DOGS) in actions_for(done)


def test_the_last_trace_of_a_lost_shard_stays_until_its_deletion_is_recorded() -> None:
    soup = a_soup().having_made("cats", "dogs").of("cats")
    trace = ForgetRevision(a_revision("cats", "dogs"))

    assert trace not in actions_for(a_world(soup, CATS, DOGS_SHARD.lost(None)))
    assert trace in actions_for(a_world(soup, CATS, DOGS_SHARD.lost()))


def test_no_shard_is_released_while_a_revision_still_names_it() -> None:
    soup = a_soup().having_made("cats", "dogs").of("cats")
    going = a_shard("dogs").trained().tombstoned()
    world = a_world(soup, CATS, going, ended(StartPurge(DOGS)), receipted=("dogs",))

    assert ReleaseShard(DOGS) not in actions_for(world)
