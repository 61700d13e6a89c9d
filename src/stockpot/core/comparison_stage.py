"""The stage COMPARED: a shard's records are compared with those of the others before it joins."""

from datetime import datetime

from stockpot.api.conditions import Reason
from stockpot.api.results import CompareResult
from stockpot.core.actions import Action, RecordComparison
from stockpot.core.attempts import failed, last_attempt, start_once
from stockpot.core.blocker import Blocker
from stockpot.core.overlaps import describe, may_join, overlaps_of, wanted_comparison
from stockpot.core.returning_records import forgotten, returning_records
from stockpot.core.run_starts import StartCompare
from stockpot.core.shard import Comparison, Shard, record_counts
from stockpot.core.stages import CheckInput
from stockpot.core.world import World


def compared(shard: Shard, inputs: CheckInput) -> Blocker | None:
    """The shard was compared with the others, and may join them."""
    world = inputs.world
    if may_join(shard, world):
        return None
    ingredient = shard.ingredient
    if shard.comparison is None and ingredient:
        start = StartCompare(ingredient)
        what = f"the comparison of {shard.name} with the other shards"
        if blocker := failed(start, world, Reason.NOT_COMPARED, what):
            return blocker
        return Blocker(Reason.NOT_COMPARED, f"{shard.name} is compared with the other shards")
    if returning := returning_records(shard, world):
        return forgotten(shard, returning, world)
    overlaps = overlaps_of(shard.uid, world)
    return Blocker(
        Reason.OVERLAPS,
        f"{describe(overlaps, world)}, and membership.onOverlap is Refuse",
        "name these records in spec.excludeRecords, delete the other shard, or set "
        "membership.onOverlap: Warn",
        needs_person=True,
    )


def plan_comparison(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    """Compare a shard, or record what a comparison found."""
    start = wanted_comparison(shard, world)
    if start is None:
        return ()
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, CompareResult):
        comparison = Comparison(
            records=result.records,
            shared=record_counts(result.shared),
            shared_records=result.shared_records,
            shared_with=result.shard_count,
            unread=result.unread,
            similar=record_counts(result.similar),
            similar_with=result.similar_count,
            returning=record_counts(result.returning),
            returning_count=result.returning_count,
            unread_lists=result.unread_lists,
        )
        return (RecordComparison(start.ingredient, comparison),)
    return start_once(start, world, now)
