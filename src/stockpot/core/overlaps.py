"""Records that several shards of a soup have: found when a shard joins, and what follows.

Each shard is compared once, before it joins, with all that were trained by then. So of any two
shards at least the later one has been compared with the other, and overlaps are read both ways.
"""

from collections.abc import Mapping

from stockpot.core.recipe import Recipe, ShardUID
from stockpot.core.returning_records import returning_records
from stockpot.core.run_starts import StartCompare
from stockpot.core.shard import Comparison, Shard
from stockpot.core.world import World

NAMED = 5
"""How many shards a message names."""


def may_join(shard: Shard, world: World) -> bool:
    """Whether nothing about the shard's overlaps holds it back. A shard in the soup stays."""
    promoted = world.serving_recipe or Recipe()
    if not shard.included or shard.ingredient in promoted.lineage:
        return True
    if shard.comparison is None or returning_records(shard, world):
        return False
    return not (world.soup.refuses_overlaps and overlaps_of(shard.uid, world))


def wanted_comparison(shard: Shard, world: World) -> StartCompare | None:
    """Return the comparison that a shard needs before it joins, if any."""
    is_due = shard.ingredient and shard.comparison is None and not may_join(shard, world)
    return StartCompare(shard.ingredient) if is_due and shard.ingredient else None


def overlaps_of(uid: ShardUID, world: World) -> Mapping[ShardUID, int]:
    """Return the living shards that share records with a shard or target, with their number."""
    return world.overlaps.get(uid, {})


def describe_gaps(comparison: Comparison) -> str:
    """Format what a comparison does not know; empty if it knows everything."""
    gaps = []
    if comparison.records is None:
        gaps.append("it has no list of its records that can be read, so it was not compared")
    elif comparison.unread:
        gaps.append(
            f"it was not compared with {comparison.unread} shards: no list of their records can be "
            "read"
        )
    hidden = comparison.shared_with - len(comparison.shared)
    if hidden > 0:
        gaps.append(f"it shares records with {hidden} more shards, which are not named")
    unnamed = comparison.similar_with - len(comparison.similar)
    if unnamed > 0:
        gaps.append(f"it has pictures that look like those of {unnamed} more shards")
    if comparison.unread_lists:
        gaps.append(
            f"the lists of {comparison.unread_lists} unlearnings cannot be read: records of theirs "
            "that come back are not recognised"
        )
    return "; ".join(gaps)


def describe_similar(uid: ShardUID, world: World) -> str:
    """Format which shards have pictures that look like those of a shard; empty without any."""
    similar = world.similarities.get(uid, {})
    if not similar:
        return ""
    ordered = sorted(similar, key=lambda other: (-similar[other], world.names.get(other, other)))
    named = [f"{similar[o]} look like pictures of {world.names.get(o, o)}" for o in ordered[:NAMED]]
    more = len(ordered) - NAMED
    return ", ".join(named) + (f", and some like pictures of {more} more" if more > 0 else "")


def describe(overlaps: Mapping[ShardUID, int], world: World) -> str:
    """Format overlaps as people read them: `120 records are in cats as well, 3 in dogs`."""
    ordered = sorted(overlaps, key=lambda uid: (-overlaps[uid], world.names.get(uid, uid)))
    first, *others = ((overlaps[uid], world.names.get(uid, uid)) for uid in ordered[:NAMED])
    more = len(ordered) - NAMED
    return (
        f"{first[0]} records are in {first[1]} as well"
        + "".join(f", {number} in {name}" for number, name in others)
        + (f", and some in {more} more shards" if more > 0 else "")
    )
