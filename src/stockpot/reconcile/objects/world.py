"""Reads all objects of one soup, its runs and its servers into one World."""

from datetime import datetime

from stockpot.api.v1alpha1 import Soup
from stockpot.core.runs import Run
from stockpot.core.world import World
from stockpot.reconcile.objects.receipt import receipt_view
from stockpot.reconcile.objects.shard import shard_view
from stockpot.reconcile.objects.soup import soup_view
from stockpot.reconcile.objects.unlearning import former_views, lost_views
from stockpot.reconcile.ports import ObservedObjects, ObservedServers


def world_of(
    soup: Soup,
    seen: ObservedObjects,
    runs: tuple[Run, ...],
    asked: ObservedServers,
    now: datetime,
) -> World:
    """Put one soup with all of its shards, runs and servers together."""
    receipts = tuple(receipt_view(receipt) for receipt in seen.receipts)
    shards = (shard_view(shard, soup, receipts, now) for shard in seen.shards)
    # What has no finalizer and is going is not ours to forget, unless it left a trace.
    held = tuple(shard for shard in shards if shard.held or not shard.leaving)
    former = [one for shard in seen.shards for one in former_views(shard, soup, receipts)]
    living = {shard.uid for shard in held if shard.alive}
    # What is left of a shard that goes, goes with it.
    of_living = [one for one in former if one.former and one.former.shard in living]
    return World(
        soup=soup_view(soup, seen.revisions, receipts),
        shards=(
            *held,
            *of_living,
            *lost_views(soup, seen, runs, held, receipts),
        ),
        runs=runs,
        servers=asked.servers,
        replicas=asked.replicas,
        is_as_told=asked.is_as_told,
        hindrance=asked.hindrance,
        ended=asked.ended,
        endings=asked.endings,
        receipts=receipts,
        former_of_dying=frozenset(one.uid for one in former) - {one.uid for one in of_living},
        namespace_terminates=seen.namespace_terminates,
    )
