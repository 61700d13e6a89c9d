"""Store or objects come back from a backup: the base is served until both know the same."""

from dataclasses import replace
from datetime import timedelta

from tests.spec.vocabulary import *

CATS = a_shard("cats").trained()
LATER = NOON + timedelta(minutes=4)
KNOWN = tuple(RecordedReceipt(f"pets-{n}", uid(f"gone-{n}"), n, signed_at=NOON) for n in (1, 2))


def seeing(receipt: int, *, age_s: float = 0.0, digest: str = "two") -> World:
    """A soup that knows two receipts, and a server whose store has so many."""
    head = ChainHead(sequence=receipt, digest=key(digest), receipt=receipt)
    server = a_server().of("cats")
    reading = replace(server, server=replace(server.server, chain=head, chain_age_s=age_s))
    soup = a_soup().having_made().of("cats").with_fields(receipts=2, head=key("two"))
    return a_world(soup, CATS, reading, receipts=KNOWN)


def serves_base(world: World) -> bool:
    promoted = [action for action in actions_for(world, LATER) if isinstance(action, Promote)]
    return [action.promotion.revision.recipe for action in promoted] == [Recipe()]


def test_where_both_know_the_same_receipts_nothing_is_done() -> None:
    assert actions_for(seeing(2), LATER) == ()
    assert check(seeing(2), LATER).soup is None


def test_objects_that_are_older_than_the_store_serve_the_base_and_say_how_to_go_on() -> None:
    world = seeing(5)

    blocker = check(world, LATER).soup

    assert serves_base(world)
    assert blocker is not None
    assert (blocker.reason, blocker.needs_person) == (Reason.RECEIPTS_OUT_OF_STEP, True)
    assert "number 5" in blocker.message
    assert "stockpot replay" in blocker.help
    updates = {
        condition.type: condition for condition in report_of(check(world, LATER)).soup.conditions
    }
    assert updates[ConditionType.STALLED].so


def test_a_store_that_is_older_than_its_objects_serves_the_base() -> None:
    blocker = check(seeing(1), LATER).soup

    assert serves_base(seeing(1))
    assert blocker is not None
    assert "tombstones/" in blocker.help


def test_another_chain_of_the_same_length_serves_the_base() -> None:
    assert serves_base(seeing(2, digest="another"))


def test_a_server_that_looked_before_the_last_receipt_proves_nothing() -> None:
    assert actions_for(seeing(1, age_s=301), LATER) == ()


def test_a_receipt_that_is_stored_and_not_written_down_yet_is_no_trouble() -> None:
    leaving = a_shard("dogs").trained().tombstoned()
    world = seeing(3)
    under_way = replace(
        world, targets=(*world.targets, leaving.target), runs=(a_run(signing("dogs")), *world.runs)
    )

    assert check(under_way, LATER).soup is None


def test_nothing_is_signed_onto_a_chain_whose_end_is_missing() -> None:
    leaving = a_shard("dogs").trained().tombstoned()
    world = seeing(1)
    purged = replace(a_run(StartPurge(uid("dogs"))))
    under_way = replace(world, targets=(*world.targets, leaving.target), runs=(purged,))

    assert StartSigning not in [type(action) for action in actions_for(under_way, LATER)]


def test_what_an_older_store_has_again_is_removed_soon() -> None:
    soon = LATER + timedelta(minutes=2)
    world = seeing(1)
    looked = replace(world.soup, last_rescan=LastRescan(7, NOON, 12))
    again = [
        action for action in actions_for(replace(world, soup=looked), soon) if is_collection(action)
    ]

    assert len(again) == 1
    assert not [
        action
        for action in actions_for(replace(seeing(2), soup=looked), soon)
        if is_collection(action)
    ]


def is_collection(action: Action) -> bool:
    return isinstance(action, StartRescan)


def test_it_is_over_when_the_receipts_are_replayed() -> None:
    more = tuple(
        RecordedReceipt(f"pets-{n}", uid(f"gone-{n}"), n, signed_at=NOON) for n in range(1, 6)
    )
    world = seeing(5, digest="five")
    soup = replace(world.soup, receipts=5, head=None)

    assert check(replace(world, soup=soup, receipts=more), LATER).soup is None
