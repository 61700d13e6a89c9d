"""Whether store and objects know the same receipts. One of the two may come back from a backup.

An older store has again what was purged, and its tombstones are gone; older objects have shards
again that were forgotten. Either way nobody can say what may be served, so the base is, and
nothing is signed, until both know the same receipts.
"""

from datetime import datetime, timedelta

from stockpot.api.conditions import Reason
from stockpot.core.actions import is_signing
from stockpot.core.blocker import Blocker
from stockpot.core.servers import Server
from stockpot.core.world import World

SKEW = timedelta(seconds=60)
"""By how much the signer's clock and ours may differ."""


def receipt_chain_diverged(world: World, now: datetime) -> Blocker | None:
    """Say what is older than what, where servers see another chain than the Soup knows."""
    soup = world.soup
    heads = [server.chain for server in world.servers if server.answers and server.chain]
    ahead = max((head.receipt for head in heads), default=0)
    if ahead > soup.receipts and not _may_be_unrecorded(world):
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"the store has receipts up to number {ahead}, the Soup knows {soup.receipts}: its "
            "objects are older than the store, and may bring forgotten shards back; the base is "
            "served meanwhile",
            f"stockpot replay soup/{soup.name} … | kubectl apply -f -",
            needs_person=True,
        )
    stored = [
        server.chain for server in world.servers if server.chain and _has_looked(server, world, now)
    ]
    behind = min((one.receipt for one in stored), default=soup.receipts)
    if behind < soup.receipts:
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"the store has receipts up to number {behind}, the Soup knows {soup.receipts}: the "
            "store is older than its objects, and may have what was purged; the base is served "
            "meanwhile",
            "restore the newest of its folders receipts/, tombstones/ and inventories/, and delete "
            "SoupRevisions that it does not have: they are merged again",
            needs_person=True,
        )
    forked = [
        one
        for one in stored
        if one.sequence == one.receipt == soup.receipts and soup.head and one.digest != soup.head
    ]
    if forked:
        return Blocker(
            Reason.RECEIPTS_OUT_OF_STEP,
            f"receipt {soup.receipts} is {forked[0].digest} in the store, and the Soup knows it as "
            f"{soup.head}: this is another chain; the base is served meanwhile",
            "find out which of the two is right: stockpot verify --head shows where they part",
            needs_person=True,
        )
    return None


def _may_be_unrecorded(world: World) -> bool:
    """Whether a receipt may be stored that is not written down yet."""
    signs = any(is_signing(run) for run in world.runs)
    return signs or any(target.uid not in world.receipted for target in world.targets)


def _has_looked(server: Server, world: World, now: datetime) -> bool:
    """Whether it looked at the store after the last receipt was there."""
    last = next((o.signed_at for o in world.receipts if o.sequence == world.soup.receipts), None)
    looked_at = now - timedelta(seconds=server.chain_age_s)
    return server.answers and (last is None or looked_at > last + SKEW)
