"""One round of one soup: observe, check, plan, apply, report.

May be broken off anywhere: the next round finds what was done and goes on from there.
"""

from dataclasses import dataclass
from datetime import datetime

from stockpot.api.conditions import ConditionType, Reason
from stockpot.core.checks import Assessment
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
    """What one round saw, thought and asked for."""

    seen: ObservedObjects
    assessment: Assessment | None
    """None: there is no soup of that name."""
    plan: Plan
    now: datetime

    @property
    def wake_at(self) -> datetime | None:
        """When to look again though nothing else happens."""
        return self.assessment.wake_at if self.assessment else None

    @property
    def due_at(self) -> datetime | None:
        """When time alone changes something, perhaps long from now."""
        return self.assessment.due_at if self.assessment else None


def reconcile(ports: Ports, *, fresh: bool = False) -> Round:
    """Bring one soup, with all of its shards, a step nearer to what its objects ask for."""
    now = ports.now()
    seen, world = observe(ports, fresh=fresh)
    if world is None:
        return _without_soup(seen, ports, now)
    assessment = check(world, now)
    todo = plan(assessment, now)
    if todo.is_irrevocable and not fresh:
        # Measure twice, cut once: a cache may not have seen the last writer yet.
        return reconcile(ports, fresh=True)
    for action in todo.actions:
        apply(action, seen, world, ports, now)
    _report(assessment, seen, ports, now)
    ports.objects.flush()
    return Round(seen, assessment, todo, now)


def observe(ports: Ports, *, fresh: bool) -> tuple[ObservedObjects, World | None]:
    """Look at objects, then runs, then servers. The order is part of the proof.

    A purge that is seen done was done before the servers are asked. The other way round, one
    could say "I hold nothing", fetch, and only then would the purge end.
    """
    seen = ports.objects.read(fresh=fresh)
    if seen.soup is None:
        return seen, None
    runs = ports.runs.list(fresh=fresh)
    asked = ports.servers.ask(granted_servers(seen.soup), fresh=fresh)
    return seen, world_of(seen.soup, seen, runs, asked, ports.now())


def _report(assessment: Assessment, seen: ObservedObjects, ports: Ports, now: datetime) -> None:
    report = report_of(assessment)
    former = {target.uid: target.past_training for target in assessment.inputs.world.targets}
    for shard in report.shards:
        if was := former.get(shard.shard):
            ports.objects.change_shard(was.shard, note_stage(was, shard.stage))
            continue
        ports.objects.change_shard(shard.shard, with_shard_report(shard, now))
    soup = assessment.inputs.world.soup
    weights = {revision.recipe.digest: revision.weights for revision in soup.made}
    current = soup.current.revision.recipe.digest if soup.current else None
    quality = quality_of(
        next(
            (revision for revision in seen.revisions if revision.spec.recipe_digest == current),
            None,
        ),
        next((revision for revision in seen.revisions if not revision.spec.parts), None),
    )
    ports.objects.change_soup(with_soup_report(report.soup, weights, quality, now))


def _without_soup(seen: ObservedObjects, ports: Ports, now: datetime) -> Round:
    """Say to shards that name a soup which is not there what to do; let those go that leave."""
    for shard in seen.shards:
        name = shard.spec.soup_ref.name
        said = f"there is no Soup {name} here; help: apply one of that name"
        told = tuple(
            ConditionUpdate(kind, kind is ConditionType.STALLED, Reason.SOUP_NOT_FOUND, said)
            for kind in (ConditionType.READY, ConditionType.STALLED)
        )
        report = ShardStatusReport(shard.metadata.uid, told)  # type: ignore[arg-type]
        ports.objects.change_shard(shard.metadata.uid, with_shard_report(report, now))
    ports.objects.flush()
    return Round(seen, None, Plan(), now)
