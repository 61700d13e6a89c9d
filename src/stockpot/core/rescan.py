"""When to look for what came back of what was forgotten.

A writer that was stopped before its last look at the tombstones and goes on after the receipt
still writes what it was about to. Nobody is ever granted that, and no purge waits for it; so it is
looked for, soon after each receipt and then ever less often.
"""

from datetime import UTC, datetime

from stockpot.core.actions import StartRescan
from stockpot.core.retry import rescan_again_at
from stockpot.core.world import World

LONG_AGO = datetime.min.replace(tzinfo=UTC)
MOST_FORGOTTEN = 5000
"""Of one look: their UIDs stand in the run's annotation."""


def rescan_due_at(world: World, *, soon: bool = False) -> datetime | None:
    """When it is to be looked next. None: nothing was forgotten, or the soup goes.

    Args:
        world: As it was seen.
        soon: Something may be there that was not at the last look.
    """
    if not world.soup.alive or not (world.soup.receipts or world.receipts):
        return None
    if world.receipts and not world.receipted:
        return None  # Nothing was forgotten for good yet.
    last = max((receipt.signed_at for receipt in world.receipts if receipt.signed_at), default=None)
    done = world.soup.collection
    if last is None and world.receipts:
        return None  # Their objects do not say when they were signed: earlier releases wrote them.
    if done is None:
        return rescan_again_at(last, 0) if last else LONG_AGO
    if last and done.at < last:
        return rescan_again_at(last, 0)
    return rescan_again_at(done.at, 0 if soon else done.quiet)


def next_rescan(world: World) -> StartRescan:
    """The look that is next, or under way."""
    done = world.soup.collection
    newest = sorted(world.receipts, key=lambda receipt: receipt.sequence)[-MOST_FORGOTTEN:]
    forgotten = dict.fromkeys(one.shard for one in newest if one.is_complete)
    recorded = tuple(sorted(receipt.sequence for receipt in world.receipts))
    number = done.number + 1 if done else 1
    return StartRescan(number, tuple(forgotten), recorded=recorded)


def unrecorded_receipts(world: World) -> tuple[int, ...]:
    """Return the receipts, by sequence, that the store had at the last look and have no object."""
    known = {receipt.sequence for receipt in world.receipts}
    last = world.soup.collection
    return tuple(number for number in (last.unrecorded if last else ()) if number not in known)
