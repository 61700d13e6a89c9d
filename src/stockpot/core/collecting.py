"""When to look for what came back of what was forgotten.

A writer that was stopped before its last look at the tombstones and goes on after the receipt
still writes what it was about to. Nobody is ever granted that, and no purge waits for it; so it is
looked for, soon after each receipt and then ever less often.
"""

from datetime import datetime

from stockpot.core.actions import StartCollection
from stockpot.core.retry import collected_again
from stockpot.core.world import World

MOST_FORGOTTEN = 5000
"""Of one look: their UIDs stand in the run's annotation."""


def collection_due_at(world: World, *, soon: bool = False) -> datetime | None:
    """When it is to be looked next. None: nothing was forgotten, or the soup goes.

    Args:
        world: As it was seen.
        soon: Something may be there that was not at the last look.
    """
    last = max((one.signed_at for one in world.receipts if one.signed_at), default=None)
    if last is None or not world.soup.alive or not world.receipted:
        return None
    done = world.soup.collection
    if done is None or done.at < last:
        return collected_again(last, 0)
    return collected_again(done.at, 0 if soon else done.quiet)


def next_collection(world: World) -> StartCollection:
    """The look that is next, or under way."""
    done = world.soup.collection
    newest = sorted(world.receipts, key=lambda one: one.sequence)[-MOST_FORGOTTEN:]
    forgotten = dict.fromkeys(one.shard for one in newest if one.is_complete)
    return StartCollection(done.number + 1 if done else 1, tuple(forgotten))
