"""When to rescan the store for resurrected artifacts of unlearned shards.

A writer that was suspended just after it checked the tombstones may resume after the receipt and
write its artifact. No grant ever names that artifact and no purge waits for it, so the store is
rescanned: soon after each receipt, then ever less often.
"""

from datetime import UTC, datetime

from stockpot.core.retry import rescan_again_at
from stockpot.core.run_starts import StartRescan
from stockpot.core.world import World

LONG_AGO = datetime.min.replace(tzinfo=UTC)
MOST_FORGOTTEN = 5000
"""Most UIDs that one rescan covers: the run's annotation has them all."""


def rescan_due_at(world: World, *, soon: bool = False) -> datetime | None:
    """Return the time of the next rescan; None where nothing was unlearned, or the soup is deleted.

    Args:
        world: The observed world.
        soon: The store may have objects that it did not have at the last rescan.
    """
    if not world.soup.alive or not (world.soup.receipts or world.receipts):
        return None
    if world.receipts and not world.receipted:
        return None  # No receipt is Complete yet.
    last = max((receipt.signed_at for receipt in world.receipts if receipt.signed_at), default=None)
    done = world.soup.last_rescan
    if last is None and world.receipts:
        return None  # Their objects do not say when they were signed: earlier releases wrote them.
    if done is None:
        return rescan_again_at(last, 0) if last else LONG_AGO
    if last and done.at < last:
        return rescan_again_at(last, 0)
    return rescan_again_at(done.at, 0 if soon else done.quiet)


def next_rescan(world: World) -> StartRescan:
    """Return the next rescan, or the one that runs."""
    done = world.soup.last_rescan
    newest = sorted(world.receipts, key=lambda receipt: receipt.sequence)[-MOST_FORGOTTEN:]
    forgotten = dict.fromkeys(receipt.shard for receipt in newest if receipt.is_complete)
    recorded = tuple(sorted(receipt.sequence for receipt in world.receipts))
    number = done.number + 1 if done else 1
    return StartRescan(number, tuple(forgotten), recorded=recorded)


def unrecorded_receipts(world: World) -> tuple[int, ...]:
    """Return sequences of receipts that the store had at the last rescan and the API lacks."""
    known = {receipt.sequence for receipt in world.receipts}
    last = world.soup.last_rescan
    return tuple(number for number in (last.unrecorded if last else ()) if number not in known)
