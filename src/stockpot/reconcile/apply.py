"""Do what a plan asks for, one action at a time. "Already so" is success."""

from datetime import datetime
from typing import assert_never

from stockpot.api.v1alpha1 import Soup
from stockpot.core import actions as act
from stockpot.core.actions import Action, StartTraining, run_name
from stockpot.core.checks import last_attempt
from stockpot.core.world import World
from stockpot.reconcile import edits
from stockpot.reconcile.orders import run_spec, serve_run
from stockpot.reconcile.ports import Ports, Seen
from stockpot.store.keys import Keys

Recorded = (
    act.Hold
    | act.HoldSoup
    | act.Release
    | act.ReleaseSoup
    | act.Tombstone
    | act.RecordIngredient
    | act.RecordRevision
    | act.RecordEvaluation
    | act.RecordReceipt
    | act.ForgetRevision
    | act.Promote
)
"""What only changes objects."""


def apply(action: Action, seen: Seen, world: World, ports: Ports, now: datetime) -> None:
    """Do one thing."""
    if (soup := seen.soup) is None:
        return
    if not isinstance(action, Recorded):
        # What was learnt is written down before anything outside is done about it.
        ports.objects.flush()
    match action:
        case (
            act.StartTraining()
            | act.StartMerge()
            | act.StartEvaluation()
            | act.StartPurge()
            | act.StartSigning()
        ):
            spec = run_spec(action, soup, seen, world, ports.surroundings)
            ports.runs.start(run_name(action), action.lineage, spec)
        case act.EndRun(name):
            ports.runs.end(name)
        case act.Prepare(server, boot, promotion):
            ports.servers.prepare(server, boot, promotion)
        case act.Commit(server, boot, promotion):
            ports.servers.commit(server, boot, promotion)
        case act.Scale(replicas):
            ports.servers.scale(replicas, serve_run(soup, ports.surroundings))
        case _:
            _write(action, soup, seen, world, ports, now)


def _write(
    action: Recorded,
    soup: Soup,
    seen: Seen,
    world: World,
    ports: Ports,
    now: datetime,
) -> None:
    objects = ports.objects
    match action:
        case act.Hold() | act.HoldSoup() | act.Release() | act.ReleaseSoup():
            _hold(action, ports)
        case act.Tombstone(shard):
            objects.change_shard(shard, edits.tombstone(now))
        case act.RecordIngredient(shard, trained):
            view = next(one for one in world.shards if one.uid == shard)
            run = last_attempt(StartTraining(shard, view.request), world)
            size = run.result.size_bytes if run and run.result else None
            # The base first: it may not drift, whatever happens next.
            objects.change_soup(edits.with_base(trained.base))
            name = run.name if run else ""
            objects.change_shard(shard, edits.with_ingredient(trained, size or 0, name))
        case act.RecordRevision(_, base, _):
            objects.change_soup(edits.with_base(base))
            objects.create(edits.new_revision(action, soup, world, now))
        case act.RecordEvaluation(revision, figures):
            name = edits.revision_name(soup.metadata.name, revision.recipe.digest)
            objects.change_revision(name, edits.with_figures(figures))
        case act.RecordReceipt(shard, sequence):
            gone = next(one for one in seen.shards if one.metadata.uid == shard)
            key = Keys(soup.metadata.namespace).receipt(soup.metadata.uid, sequence)
            current = world.soup.current.revision if world.soup.current else None
            objects.create(edits.new_receipt(action, gone, soup, key, current))
            objects.change_soup(edits.with_receipt(action))
        case act.ForgetRevision(revision):
            name = edits.revision_name(soup.metadata.name, revision.recipe.digest)
            objects.delete_revision(name)
        case act.Promote(promotion):
            objects.change_soup(edits.promoted(promotion, now))
        case never:
            assert_never(never)


def _hold(action: act.Hold | act.HoldSoup | act.Release | act.ReleaseSoup, ports: Ports) -> None:
    match action:
        case act.Hold(shard):
            ports.objects.change_shard(shard, edits.hold)
        case act.Release(shard):
            ports.objects.change_shard(shard, edits.release)
        case act.HoldSoup():
            ports.objects.change_soup(edits.hold)
        case act.ReleaseSoup():
            ports.objects.change_soup(edits.release)
        case never:
            assert_never(never)
