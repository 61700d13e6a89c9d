"""Records of a shard that the soup unlearned before: they come back only where a receipt is named.

The comparison that a shard needs before it joins looks its records up among those that were
unlearned, whatever set they come in. A shard that taught them before that unlearning was requested
keeps them: they are another donor's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stockpot.api.conditions import Reason
from stockpot.core.blocker import Blocker
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.shard import Shard
from stockpot.core.world import World

NAMED = 3
"""How many unlearnings a message names."""


@dataclass(frozen=True)
class ReturningRecords:
    """Records of a shard that were unlearned once, and that nobody said may come back."""

    unlearned: ShardUID
    """What they were unlearned with."""
    records: int
    receipt: RecordedReceipt | None
    """Its last receipt. None: it is not signed yet, or its object was deleted."""


def returning_records(shard: Shard, world: World) -> tuple[ReturningRecords, ...]:
    """Return what keeps a shard out of the soup, by unlearning; that with most records first."""
    comparison = shard.comparison
    if comparison is None:
        return ()
    # A shard that was compared as a living one may have been deleted before, unobserved.
    gone = {
        uid: records
        for uid, records in comparison.shared
        if uid in world.unlearning_requests or uid in world.receipts_by_shard
    }
    unlearned = gone | dict(comparison.returning)
    return tuple(_not_named(shard, unlearned, world)) if unlearned else ()


def _not_named(
    shard: Shard, unlearned: Mapping[ShardUID, int], world: World
) -> Iterator[ReturningRecords]:
    since = shard.taught_since
    for uid, records in sorted(unlearned.items(), key=lambda item: (-item[1], item[0])):
        receipts = world.receipts_by_shard.get(uid, ())
        last = max(receipts, key=lambda receipt: receipt.sequence, default=None)
        requested_at = last.requested_at if last else world.unlearning_requests.get(uid)
        is_other_donors = since and requested_at and since < requested_at
        # Without an object of the receipt, the UID of the shard can be named.
        is_named = shard.relearn & {shard_of(uid), *(receipt.name for receipt in receipts)}
        if not (is_named or is_other_donors):
            yield ReturningRecords(uid, records, last)


def forgotten(shard: Shard, returning: tuple[ReturningRecords, ...], world: World) -> Blocker:
    """Return why records that come back keep a shard out of the soup, and what helps."""
    comparison = shard.comparison
    total = comparison.records if comparison else None
    first, *others = returning[:NAMED]
    more = max(len(returning), comparison.returning_count if comparison else 0) - NAMED
    message = (
        f"{first.records} of {total} records of DataShard {shard.name} {_unlearned(first, world)}"
        + "".join(f", {each.records} {_unlearned(each, world)}" for each in others)
        + (f", and more in {more} more unlearnings" if more > 0 else "")
    )
    names = sorted(
        {*shard.relearn}
        | {each.receipt.name if each.receipt else shard_of(each.unlearned) for each in returning}
    )
    return Blocker(
        Reason.FORGOTTEN,
        message,
        f"name these records in spec.excludeRecords; or, to learn them again, set spec.relearn: "
        f"{','.join(names)}",
        needs_person=True,
    )


def _unlearned(returning: ReturningRecords, world: World) -> str:
    if returning.receipt:
        return f"were unlearned in UnlearningReceipt {returning.receipt.name}"
    name = world.names.get(returning.unlearned)
    if name:
        return f"are being unlearned with DataShard {name}"
    return f"were unlearned with the DataShard of UID {shard_of(returning.unlearned)}"
