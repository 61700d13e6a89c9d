"""A reconcile round of one soup: observe, check, plan, apply, report.

A round may be interrupted anywhere: the next one observes what was done and continues.
"""

from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import ConditionType, Reason
from stockpot.api.states import ShardState
from stockpot.core.actions import Promote
from stockpot.core.checks import Assessment
from stockpot.core.digests import Digest
from stockpot.core.plan import Plan, check, plan
from stockpot.core.report import ConditionUpdate, ShardStatusReport, report_of
from stockpot.core.world import World
from stockpot.reconcile.apply import apply
from stockpot.reconcile.objects.revision import quality_of
from stockpot.reconcile.objects.shard import with_shard_report
from stockpot.reconcile.objects.soup import granted_servers, with_soup_report
from stockpot.reconcile.objects.unlearning import note_stage
from stockpot.reconcile.objects.world import world_of
from stockpot.reconcile.ports import ObservedObjects, Ports


@dataclass(frozen=True)
class Round:
    """The observed objects, the assessment and the plan of one round."""

    observed: ObservedObjects
    assessment: Assessment | None
    """The outcome of the checks; None if no soup has the name."""
    plan: Plan
    now: datetime

    @property
    def wake_at(self) -> datetime | None:
        """When the next round is due, without any event."""
        return self.assessment.wake_at if self.assessment else None

    @property
    def due_at(self) -> datetime | None:
        """When the passing of time alone changes something, perhaps long from now."""
        return self.assessment.due_at if self.assessment else None


def reconcile(ports: Ports, *, fresh: bool = False) -> Round:
    """Bring a soup and its shards a step nearer to their specs."""
    now = ports.now()
    observed, world = observe(ports, fresh=fresh)
    if world is None:
        return _without_soup(observed, ports, now)
    assessment = check(world, now)
    todo = plan(assessment, now)
    if todo.is_irrevocable and not fresh:
        # Measure twice, cut once: a cache may lack the last write.
        return reconcile(ports, fresh=True)
    for action in todo.actions:
        apply(action, observed, world, ports, now)
    _report(assessment, todo, observed, ports, now)
    ports.objects.flush()
    return Round(observed, assessment, todo, now)


def observe(ports: Ports, *, fresh: bool) -> tuple[ObservedObjects, World | None]:
    """Observe objects, then runs, then servers. The order is part of the proof.

    A purge that is observed as done ended before the servers are asked. In the other order, a
    server could answer that it holds nothing, then fetch, and only then would the purge end.
    """
    observed = ports.objects.read(fresh=fresh)
    if observed.soup is None:
        return observed, None
    runs = ports.runs.list(fresh=fresh)
    servers = ports.servers.ask(granted_servers(observed.soup), fresh=fresh)
    return observed, world_of(observed.soup, observed, runs, servers, ports.now())


def _report(
    assessment: Assessment, done: Plan, observed: ObservedObjects, ports: Ports, now: datetime
) -> None:
    report = report_of(assessment)
    former = {target.uid: target.past_training for target in assessment.inputs.world.targets}
    for shard in report.shards:
        if was := former.get(shard.shard):
            ports.objects.change_shard(was.shard, note_stage(was, shard.stage))
            continue
        ports.objects.change_shard(shard.shard, with_shard_report(shard, now))
    # A Soup that is Ready has only shards that say so.
    ports.objects.flush()
    if any(isinstance(action, Promote) for action in done.actions):
        return  # The promotion has said what the soup is now; the assessment was made before it.
    soup = assessment.inputs.world.soup
    # As the objects name them: a recipe's digest costs more than all the rest of a round.
    weights = {
        Digest(revision.spec.recipe_digest): Digest(revision.spec.weights_digest)
        for revision in observed.revisions
    }
    current = soup.current.revision.recipe.digest if soup.current else None
    quality = quality_of(
        next(
            (revision for revision in observed.revisions if revision.spec.recipe_digest == current),
            None,
        ),
        next((revision for revision in observed.revisions if not revision.spec.parts), None),
    )
    ports.objects.change_soup(with_soup_report(report.soup, weights, quality, now))


def _without_soup(observed: ObservedObjects, ports: Ports, now: datetime) -> Round:
    """Report SoupNotFound to the shards of a missing soup; release those that are being deleted."""
    for shard in observed.shards:
        name = shard.spec.soup_ref.name
        message = f"there is no Soup {name} here; help: apply one of that name"
        updates = tuple(
            ConditionUpdate(kind, kind is ConditionType.STALLED, Reason.SOUP_NOT_FOUND, message)
            for kind in (ConditionType.READY, ConditionType.STALLED)
        )
        report = ShardStatusReport(shard.metadata.uid, updates, ShardState.STALLED)  # type: ignore[arg-type]
        ports.objects.change_shard(shard.metadata.uid, with_shard_report(report, now))
    ports.objects.flush()
    return Round(observed, None, Plan(), now)
