"""Records that several shards of a soup have: found when a shard joins, and what follows.

Each shard is compared once, before it joins, with all that were trained by then. So of any two
shards at least the later one has been compared with the other, and overlaps are read both ways.
"""

from collections.abc import Mapping

from stockpot.core.recipe import Recipe, ShardUID
from stockpot.core.run_starts import StartCompare
from stockpot.core.shard import Shard
from stockpot.core.world import World

NAMED = 5
"""How many shards a message names."""


def may_join(shard: Shard, world: World) -> bool:
    """Whether nothing about the shard's overlaps holds it back. A shard in the soup stays."""
    promoted = world.serving_recipe or Recipe()
    if not shard.included or shard.ingredient in promoted.lineage:
        return True
    if shard.comparison is None:
        return False
    return not (world.soup.refuses_overlaps and overlaps_of(shard.uid, world))


def wanted_comparison(shard: Shard, world: World) -> StartCompare | None:
    """Return the comparison that a shard needs before it joins, if any."""
    is_due = shard.ingredient and shard.comparison is None and not may_join(shard, world)
    return StartCompare(shard.ingredient) if is_due and shard.ingredient else None


def overlaps_of(uid: ShardUID, world: World) -> Mapping[ShardUID, int]:
    """Return the living shards that share records with a shard or target, with their number."""
    return world.overlaps.get(uid, {})


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
