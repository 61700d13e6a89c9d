"""Reads all objects of one soup, its runs and its servers into one World."""

from dataclasses import replace
from datetime import datetime

from stockpot.api.v1alpha1 import Soup
from stockpot.core.runs import Run
from stockpot.core.shard import Shard
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.world import World
from stockpot.reconcile.objects.debt import owed_uids
from stockpot.reconcile.objects.fields import is_forced
from stockpot.reconcile.objects.receipt import receipt_view
from stockpot.reconcile.objects.shard import shard_view
from stockpot.reconcile.objects.soup import soup_view
from stockpot.reconcile.objects.unlearning import (
    is_to_be_unlearned,
    lost_targets,
    object_target,
    past_training_targets,
)
from stockpot.reconcile.ports import ObservedObjects, ObservedServers


def world_of(
    soup: Soup,
    observed: ObservedObjects,
    runs: tuple[Run, ...],
    servers: ObservedServers,
    now: datetime,
) -> World:
    """Build the World of one soup from its objects, its runs and its servers."""
    receipts = tuple(receipt_view(receipt) for receipt in observed.receipts)
    has_receipt = frozenset(receipt.shard for receipt in receipts)
    shards: list[Shard] = []
    targets: list[UnlearningTarget] = []
    for shard in observed.shards:
        view = shard_view(shard, soup, now)
        if shard.metadata.deletion_timestamp and not view.held:
            continue  # It does not wait for us. Where it left a trace, it is found below.
        if is_to_be_unlearned(shard, has_receipt, now):
            targets.append(object_target(shard, view, soup, receipts))
        else:
            shards.append(view)
    living = {shard.uid for shard in shards}
    past = [
        target
        for shard in observed.shards
        for target in past_training_targets(shard, soup, receipts)
    ]
    # What is left of a shard that goes, goes with it.
    past_of_living = [
        target for target in past if target.past_training and target.past_training.shard in living
    ]
    known = living | {target.uid for target in targets}
    lost = lost_targets(soup, observed, runs, known, receipts)
    soup_now = replace(soup_view(soup, observed.revisions, receipts), is_gone=observed.is_soup_gone)
    is_needed = any(shard.trained for shard in shards)
    if is_needed and not soup_now.alive and _may_go_on(soup, observed):
        soup_now = replace(soup_now, alive=True, is_ending=True)
    owed = owed_uids(observed.debts or ())
    return World(
        soup=soup_now,
        shards=tuple(shards),
        targets=tuple(
            replace(target, is_owed=True) if target.uid in owed else target
            for target in (*targets, *past_of_living, *lost)
        ),
        runs=runs,
        servers=servers.servers,
        replicas=servers.replicas,
        is_as_declared=servers.is_as_declared,
        is_rolled_out=servers.is_rolled_out,
        startup_blocker=servers.startup_blocker,
        ended=servers.ended,
        endings=servers.endings,
        receipts=receipts,
        former_of_dying=frozenset(target.uid for target in past)
        - {target.uid for target in past_of_living},
        namespace_terminates=observed.namespace_terminates,
        has_ledger=observed.debts is not None,
    )


FOREGROUND = "foregroundDeletion"
"""Finalizer of an object that was deleted with `--cascade=foreground`: what it owns goes first."""


def _may_go_on(soup: Soup, observed: ObservedObjects) -> bool:
    """Whether a Soup that is being deleted can go on serving its living shards.

    It cannot where its servers are deleted by somebody else, or it was told to go at once.
    """
    is_gone = observed.is_soup_gone or observed.namespace_terminates
    return not (is_gone or is_forced(soup) or FOREGROUND in soup.metadata.finalizers)
