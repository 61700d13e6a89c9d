"""Which receipts are signed together, and when one counts as recorded: never by another's.

Invariant 16.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.spec.vocabulary import *

from stockpot.api.results import ResultMessage, SignResult, read_result
from stockpot.api.run_kinds import RunKind

CATS = a_shard("cats").trained()
NAMES = tuple(f"shard-{number:02}" for number in range(20))


def dying(*names: str) -> tuple[object, ...]:
    """Shards of which nothing is left to do but their receipts."""
    shards = (a_shard(name).trained().tombstoned(NOON) for name in names)
    return (*shards, *(ended(StartPurge(uid(name))) for name in names))


def world_of(*things: object, **fields: object) -> World:
    world = a_world(a_soup().of("cats"), CATS, *things)  # type: ignore[arg-type]
    return replace(world, **fields)


def recorded(*places: int, name: str = "dogs") -> tuple[RecordedReceipt, ...]:
    return tuple(
        RecordedReceipt(f"pets-{n}", uid(name), n, digest=receipt_digest(n)) for n in places
    )


def only(kind: type[Action], world: World) -> list[Action]:
    return [action for action in actions_for(world) if isinstance(action, kind)]


def test_sixteen_are_signed_by_one_run_those_first_that_wait_longest() -> None:
    late = a_shard("shard-00").trained().tombstoned(NOON + timedelta(seconds=9))
    things = (*dying(*NAMES[1:]), late, ended(StartPurge(uid("shard-00"))))

    [start] = only(StartSigning, world_of(*things))

    assert isinstance(start, StartSigning)
    assert [due.shard for due in start.receipts] == [uid(name) for name in NAMES[1:17]]


def test_nothing_is_signed_while_a_run_signs() -> None:
    running = a_run(signing("dogs"))

    assert only(StartSigning, world_of(*dying("dogs", "eels"), running)) == []


def test_what_one_run_signed_is_recorded_in_the_order_of_the_chain() -> None:
    run = signed(signing("dogs", "eels", "frogs"), first=4)

    records = only(RecordReceipt, world_of(*dying("frogs", "dogs", "eels"), run))

    numbers = [(record.sequence, record.shard, record.previous) for record in records]  # type: ignore[union-attr]
    assert numbers == [
        (4, uid("dogs"), receipt_digest(3)),
        (5, uid("eels"), receipt_digest(4)),
        (6, uid("frogs"), receipt_digest(5)),
    ]


@pytest.mark.parametrize("highest", [0, 4, 9])
@pytest.mark.parametrize("is_soup_alive", [True, False])
def test_the_receipt_of_another_shard_releases_no_shard(highest: int, is_soup_alive: bool) -> None:
    run = signed(signing("dogs"), first=4)
    others = recorded(*range(1, highest + 1), name="eels")
    others = tuple(other for other in others if other.sequence != 4)
    world = world_of(*dying("dogs"), run, receipts=others)
    world = replace(world, soup=replace(world.soup, receipts=highest, alive=is_soup_alive))

    assert only(ReleaseShard, world) == []
    assert [action.sequence for action in only(RecordReceipt, world)] == [4]  # type: ignore[union-attr]


def test_an_object_with_another_digest_than_the_shards_status_names_is_not_its_receipt() -> None:
    dogs = a_shard("dogs").trained().tombstoned()
    named = dogs.with_fields(last_receipt=4, receipt_digest=receipt_digest(4))
    forged = (RecordedReceipt("pets-4", uid("dogs"), 4, digest=receipt_digest(7)),)
    purged = ended(StartPurge(uid("dogs")))

    assert only(ReleaseShard, world_of(named, purged, receipts=forged)) == []
    assert only(ReleaseShard, world_of(named, purged, receipts=recorded(4))) == [
        ReleaseShard(uid("dogs"))
    ]


def test_where_the_namespace_terminates_the_shards_own_status_is_the_record() -> None:
    dogs = a_shard("dogs").trained().tombstoned()
    named = dogs.with_fields(last_receipt=4, receipt_digest=receipt_digest(4))
    run, purged = signed(signing("dogs"), first=4), ended(StartPurge(uid("dogs")))

    lives = world_of(named, purged, run)
    ends = world_of(named, purged, run, namespace_terminates=True)
    unnamed = world_of(dogs, purged, run, namespace_terminates=True)

    assert only(ReleaseShard, lives) == []
    assert only(RecordReceipt, lives), "its object is made again"
    assert only(ReleaseShard, ends) == [ReleaseShard(uid("dogs"))]
    assert only(ReleaseShard, unnamed) == []
    assert only(RecordReceipt, unnamed)


def test_a_receipt_is_recorded_whatever_its_shard_lacks_by_then() -> None:
    run = signed(signing("dogs"), first=4)
    still_served = a_soup().of("cats", "dogs")
    world = a_world(still_served, CATS, a_shard("dogs").trained().tombstoned(), run)

    assert [action.sequence for action in only(RecordReceipt, world)] == [4]  # type: ignore[union-attr]
    assert EndRun(run.name) not in actions_for(world)


def test_a_receipt_of_records_is_recorded_though_their_shard_goes_by_now() -> None:
    former = former_of(Ingredient(uid("dogs"), receipt_digest(1)))
    start = replace(signing("dogs"), receipts=(replace(signing("dogs").receipts[0], shard=former),))
    run = signed(start, first=4)
    world = world_of(*dying("dogs"), run, former_of_dying=frozenset({former}))

    assert [action.shard for action in only(RecordReceipt, world)] == [former]  # type: ignore[union-attr]


def test_a_run_that_signed_is_kept_until_all_of_it_is_recorded() -> None:
    run = signed(signing("dogs", "eels"), first=4)

    half = world_of(*dying("dogs", "eels"), run, receipts=recorded(4))
    whole = world_of(
        *dying("dogs", "eels"), run, receipts=(*recorded(4), *recorded(5, name="eels"))
    )

    assert EndRun(run.name) not in actions_for(half)
    assert EndRun(run.name) in actions_for(whole)


def test_a_receipt_that_was_refused_holds_up_no_other() -> None:
    run = signed(signing("dogs", "eels"), first=4)
    assert isinstance(run.result, SignResult)
    first = run.result.model_copy(update={"receipts": run.result.receipts[:1]})
    world = world_of(*dying("dogs", "eels"), replace(run, result=first))

    assert [action.shard for action in only(RecordReceipt, world)] == [uid("dogs")]  # type: ignore[union-attr]
    assert only(StartSigning, world) == [signing("eels")]


def test_a_failed_sign_run_is_retried_with_the_receipts_that_are_due_by_then() -> None:
    failed = broken(signing("dogs"), 49, "there is no signing key")
    failed = replace(failed, failure=replace(failed.failure, at=NOON))  # type: ignore[type-var]

    alone, together = world_of(*dying("dogs"), failed), world_of(*dying("dogs", "eels"), failed)

    assert only(StartSigning, alone) == [], "it waits"
    assert only(StartSigning, together) == [signing("dogs", "eels")]


def test_what_the_last_releases_run_wrote_is_recorded() -> None:
    def signed_by_it(residuals: int) -> Run:
        message = ResultMessage(
            receipt_sequence=4,
            receipt_digest=receipt_digest(4),
            signed_at="2026-11-22T12:00:00Z",
            figures={"residuals": str(residuals), "missing": "0"},
        )
        return replace(a_run(signing("dogs")), result=read_result(RunKind.SIGN, message))

    old, incomplete = signed_by_it(0), signed_by_it(2)

    def recorded_from(run: Run) -> RecordReceipt:
        [record] = only(RecordReceipt, world_of(*dying("dogs"), run))
        assert isinstance(record, RecordReceipt)
        return record

    assert recorded_from(old).is_complete
    assert recorded_from(old).digest == receipt_digest(4)
    assert (recorded_from(incomplete).is_complete, recorded_from(incomplete).residuals) == (
        False,
        2,
    )


def test_receipts_without_an_object_are_named_until_they_have_one() -> None:
    look = LastRescan(3, NOON, 1, unrecorded=(2, 5))
    soup = a_soup().of("cats").with_fields(last_rescan=look, receipts=7)

    def named(*places: int) -> str:
        world = a_world(soup, CATS, receipts=recorded(*places))
        conditions = {
            action.type: action for action in report_of(check(world, NOON)).soup.conditions
        }
        condition = conditions.get(ConditionType.RECEIPTS_MISSING)
        return condition.message if condition else ""

    assert "receipts 2, 5 of Soup pets" in named(1, 7)
    assert "stockpot replay --missing" in named(1, 7)
    assert "receipts 5 of" in named(1, 2, 7)
    assert named(1, 2, 5, 7) == ""
