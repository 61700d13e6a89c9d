"""Compares the receipts in the store with those in the API: either may be restored from a backup.

An older store has purged artifacts again and lacks their tombstones; older objects include shards
that were unlearned. In both cases it is unknown what may be served: the base is served and nothing
is signed until store and objects have the same receipts.
"""

from datetime import datetime, timedelta

from stockpot.api.conditions import Reason
from stockpot.core.blocker import Blocker
from stockpot.core.run_starts import is_signing
from stockpot.core.servers import Server
from stockpot.core.world import World

SKEW = timedelta(seconds=60)
"""Tolerated difference between the signer's clock and ours."""


def receipt_chain_diverged(world: World, now: datetime) -> Blocker | None:
    """Return how the store's receipt chain differs from the Soup's status, or None."""
    soup = world.soup
    heads = [server.chain for server in world.servers if server.answers and server.chain]
    ahead = max((head.receipt for head in heads), default=0)
    if ahead > soup.receipts and not _may_be_unrecorded(world):
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"the store has receipts up to number {ahead}, Soup {soup.name} knows {soup.receipts}: "
            "its objects are older than the store, and may include shards that were unlearned; the "
            "base is served until this is repaired",
            f"write the missing objects: stockpot replay soup/{soup.name} … | kubectl apply -f -",
            needs_person=True,
        )
    stored = [
        server.chain
        for server in world.servers
        if server.chain and _is_up_to_date(server, world, now)
    ]
    behind = min((head.receipt for head in stored), default=soup.receipts)
    if behind < soup.receipts:
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"the store has receipts up to number {behind}, Soup {soup.name} knows "
            f"{soup.receipts}: "
            "the store is older than its objects, and may have artifacts that were purged; the "
            "base is served until this is repaired",
            "restore the newest folders receipts/, tombstones/, inventories/ and unlearned/, and "
            "delete SoupRevisions that the store does not have: they are merged again",
            needs_person=True,
        )
    forked = [
        head
        for head in stored
        if head.sequence == head.receipt == soup.receipts and soup.head and head.digest != soup.head
    ]
    if forked:
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"receipt {soup.receipts} is {forked[0].digest} in the store and {soup.head} in Soup "
            f"{soup.name}: these are two chains; the base is served until this is repaired",
            "find out which of the two is right: stockpot verify --head shows where they differ",
            needs_person=True,
        )
    return None


def _may_be_unrecorded(world: World) -> bool:
    """Whether the store may have a receipt that is not recorded yet."""
    signs = any(is_signing(run) for run in world.runs)
    return signs or any(target.uid not in world.receipted for target in world.targets)


def _is_up_to_date(server: Server, world: World, now: datetime) -> bool:
    """Whether a server read the chain after the last receipt was stored."""
    last = next((o.signed_at for o in world.receipts if o.sequence == world.soup.receipts), None)
    read_at = now - timedelta(seconds=server.chain_age_s)
    return server.answers and (last is None or read_at > last + SKEW)
