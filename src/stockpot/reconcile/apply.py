"""Carry out the actions of a plan. An action whose effect is already there succeeds."""

from datetime import datetime
from typing import assert_never

from stockpot.api.results import TrainResult
from stockpot.api.v1alpha1 import Soup
from stockpot.core import actions as act
from stockpot.core import run_starts as starts
from stockpot.core.actions import Action
from stockpot.core.attempts import last_attempt
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.run_starts import StartTraining, run_name
from stockpot.core.world import World
from stockpot.reconcile.objects.debt import new_debts
from stockpot.reconcile.objects.fields import hold, release
from stockpot.reconcile.objects.receipt import new_receipt
from stockpot.reconcile.objects.revision import new_revision, revision_name, with_figures
from stockpot.reconcile.objects.server import with_server, without_server
from stockpot.reconcile.objects.shard import (
    EditShard,
    cancel_record_removal,
    drop_ingredient,
    request_record_removal,
    with_comparison,
    with_found_records,
    with_ingredient,
    with_retry,
)
from stockpot.reconcile.objects.soup import (
    EditSoup,
    promoted,
    with_base,
    with_collection,
    with_receipt,
    with_soup_retry,
)
from stockpot.reconcile.objects.target_details import former_training, gone_shard, keys_of
from stockpot.reconcile.objects.unlearning import (
    drop_former,
    drop_lost,
    note_former_receipt,
    note_lost,
    note_lost_receipt,
    note_receipt,
    tombstone,
)
from stockpot.reconcile.ports import ObservedObjects, Ports
from stockpot.reconcile.run_specs import RunInputs, run_spec, serve_run
from stockpot.store.keys import Keys

Recorded = (
    act.HoldShard
    | act.HoldSoup
    | act.ReleaseShard
    | act.ReleaseSoup
    | act.WriteDebt
    | act.RecordDeletion
    | act.RecordRetry
    | act.RecordIngredient
    | act.RequestRecordRemoval
    | act.RecordFoundRecords
    | act.RecordComparison
    | act.CancelRecordRemoval
    | act.DropIngredient
    | act.RecordRevision
    | act.RecordEvaluation
    | act.RecordReceipt
    | act.RecordRescan
    | act.ForgetRevision
    | act.Promote
    | act.RecordServer
    | act.ForgetServer
)
"""Actions that only change objects."""


def apply(
    action: Action, objects: ObservedObjects, world: World, ports: Ports, now: datetime
) -> None:
    """Carry out one action."""
    if (soup := objects.soup) is None:
        return
    if not isinstance(action, Recorded):
        # What this round records is written before anything outside acts on it.
        ports.objects.flush()
    match action:
        case starts.StartTraining(shard, request) | starts.StartFind(shard, request) if (
            request != _request_of(shard, world)
        ):
            return  # The shard asks for something else by now, and the name says which.
        case starts.StartRun():
            spec = run_spec(action, RunInputs(soup, objects, world, ports.environment))
            ports.runs.start(run_name(action), action.lineage, spec)
        case act.EndRun(name):
            ports.runs.end(name)
        case act.Prepare(server, instance_id, promotion):
            ports.servers.prepare(server, instance_id, promotion)
        case act.Commit(server, instance_id, promotion):
            ports.servers.commit(server, instance_id, promotion)
        case act.Scale(replicas):
            served = serve_run(soup, ports.environment) if world.soup.alive else None
            ports.servers.scale(replicas, served)
        case _:
            _write(action, soup, objects, world, ports, now)


def _request_of(shard: ShardUID, world: World) -> Digest | None:
    """Return the digest of the training that a shard asks for now."""
    return next((view.request for view in world.shards if view.uid == shard), None)


def _write(
    action: Recorded,
    soup: Soup,
    objects: ObservedObjects,
    world: World,
    ports: Ports,
    now: datetime,
) -> None:
    writer = ports.objects
    match action:
        case act.HoldShard() | act.HoldSoup() | act.ReleaseShard() | act.ReleaseSoup():
            _hold(action, world, ports)
        case act.WriteDebt() | act.RecordDeletion() | act.RecordReceipt():
            _record_unlearning(action, soup, objects, world, ports, now)
        case act.RecordIngredient(shard, trained):
            view = next(view for view in world.shards if view.uid == shard)
            run = last_attempt(StartTraining(shard, view.request), world)
            size = run.result.size_bytes if run and isinstance(run.result, TrainResult) else 0
            # The base first: it may not drift, whatever happens next.
            writer.change_soup(with_base(trained.base))
            name = run.name if run else ""
            writer.change_shard(shard, with_ingredient(trained, size, name))
        case (
            act.RequestRecordRemoval()
            | act.RecordFoundRecords()
            | act.RecordComparison()
            | act.CancelRecordRemoval()
            | act.DropIngredient()
        ):
            writer.change_shard(action.shard, _records_edit(action, now))
        case act.RecordRevision() | act.RecordEvaluation() | act.ForgetRevision():
            _record_revision(action, soup, world, ports, now)
        case act.Promote(promotion):
            writer.change_soup(promoted(promotion, world.soup.epoch, now))
        case act.RecordRetry(shard) if shard:
            writer.change_shard(shard, with_retry(action))
        case act.RecordRetry() | act.RecordRescan() | act.RecordServer() | act.ForgetServer():
            writer.change_soup(_soup_edit(action, world, now))
        case never:
            assert_never(never)


def _soup_edit(
    action: act.RecordRetry | act.RecordRescan | act.RecordServer | act.ForgetServer,
    world: World,
    now: datetime,
) -> EditSoup:
    match action:
        case act.RecordRetry():
            return with_soup_retry(action)
        case act.RecordRescan():
            return with_collection(action, now)
        case act.RecordServer(server):
            return with_server(server)
        case act.ForgetServer(uid):
            return without_server(uid, world.endings.get(uid), now)
        case never:
            assert_never(never)


def _records_edit(
    action: act.RequestRecordRemoval
    | act.RecordFoundRecords
    | act.RecordComparison
    | act.CancelRecordRemoval
    | act.DropIngredient,
    now: datetime,
) -> EditShard:
    match action:
        case act.RequestRecordRemoval():
            return request_record_removal(now)
        case act.RecordFoundRecords():
            return with_found_records(action)
        case act.RecordComparison():
            return with_comparison(action)
        case act.CancelRecordRemoval():
            return cancel_record_removal
        case act.DropIngredient():
            return drop_ingredient(action, now)
        case never:
            assert_never(never)


def _record_revision(
    action: act.RecordRevision | act.RecordEvaluation | act.ForgetRevision,
    soup: Soup,
    world: World,
    ports: Ports,
    now: datetime,
) -> None:
    writer = ports.objects
    name = revision_name(soup.metadata.name, action.revision.recipe.digest)
    match action:
        case act.RecordRevision(_, base):
            writer.change_soup(with_base(base, action.pixels_per_latent))
            writer.create(new_revision(action, soup, world, now))
        case act.RecordEvaluation(_, figures, omissions):
            writer.change_revision(name, with_figures(figures, omissions, now))
        case act.ForgetRevision():
            writer.delete_revision(name)
        case never:
            assert_never(never)


def _record_unlearning(
    action: act.WriteDebt | act.RecordDeletion | act.RecordReceipt,
    soup: Soup,
    objects: ObservedObjects,
    world: World,
    ports: Ports,
    now: datetime,
) -> None:
    """Record it in the shard, or in the Soup where the shard has no object any more."""
    writer = ports.objects
    if isinstance(action, act.WriteDebt):
        for debt in new_debts(action.targets, soup, objects, world, now):
            writer.create(debt)
        return
    if isinstance(action, act.RecordDeletion):
        target = next(target for target in world.targets if target.uid == action.shard)
        if target.is_lost or target.is_forced:
            writer.change_soup(note_lost(target, keys_of(target, world), now))
        else:
            writer.change_shard(action.shard, tombstone(now))
        return
    gone = gone_shard(action.shard, soup, objects, world)
    key = Keys(soup.metadata.namespace).receipt(soup.metadata.uid, action.sequence)
    current = world.soup.current.revision if world.soup.current and world.soup.alive else None
    writer.create(new_receipt(action, gone, soup, key, current, world.names))
    writer.change_soup(with_receipt(action))
    if former := former_training(action.shard, objects, world):
        writer.change_shard(former.shard, note_former_receipt(former, action))
    elif gone.is_lost:
        writer.change_soup(note_lost_receipt(action))
    else:
        writer.change_shard(action.shard, note_receipt(action))


def _hold(
    action: act.HoldShard | act.HoldSoup | act.ReleaseShard | act.ReleaseSoup,
    world: World,
    ports: Ports,
) -> None:
    match action:
        case act.HoldShard(shard):
            ports.objects.change_shard(shard, hold)
        case act.ReleaseShard(shard) if former := _former(shard, world):
            ports.objects.change_shard(former.shard, drop_former(former))
        case act.ReleaseShard(shard):
            ports.objects.change_shard(shard, release)
            if any(target.uid == shard and target.is_lost for target in world.targets):
                ports.objects.change_soup(drop_lost(shard))
        case act.HoldSoup():
            ports.objects.change_soup(hold)
        case act.ReleaseSoup():
            ports.objects.change_soup(release)
        case never:
            assert_never(never)


def _former(shard: ShardUID, world: World) -> Ingredient | None:
    """Return the training that stands for itself, where it is not all of a shard."""
    return next((target.past_training for target in world.targets if target.uid == shard), None)
