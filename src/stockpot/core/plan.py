"""What a round asks for, as a pure function of what it observed: the assessment, then the plan."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from stockpot.api.results import EvaluateResult, MergeResult, RescanResult
from stockpot.core.actions import (
    IRREVOCABLE,
    Action,
    CancelRecordRemoval,
    EndRun,
    ForgetRevision,
    HoldSoup,
    Promote,
    RecordEvaluation,
    RecordRescan,
    RecordRevision,
    ReleaseSoup,
)
from stockpot.core.attempts import attempts_so_far, last_attempt, retry_at, start_once
from stockpot.core.blocker import Blocker
from stockpot.core.checks import (
    Assessment,
    pending_learning_stage,
    pending_unlearning_stage,
)
from stockpot.core.digests import Digest
from stockpot.core.due_receipts import due_signing, is_kept, signed_receipts
from stockpot.core.learning_checks import not_merged, served_as_asked
from stockpot.core.membership import (
    admit,
    deadline,
    is_overdue,
    until_merged,
    wanted_recipe,
)
from stockpot.core.plan_retries import plan_retries
from stockpot.core.plan_shards import plan_shard, plan_target, wanted_runs
from stockpot.core.receipt_chain import receipt_chain_diverged
from stockpot.core.recipe import Recipe
from stockpot.core.rescan import next_rescan, rescan_due_at
from stockpot.core.revision import Promotion, Revision
from stockpot.core.run_starts import (
    Start,
    StartEvaluation,
    StartMerge,
    StartTraining,
    attempt_of,
    is_attempt_at,
    is_signing,
)
from stockpot.core.runs import Run
from stockpot.core.server_plan import plan_servers
from stockpot.core.shard import Shard
from stockpot.core.soup_deletion import deletion_blocker, is_let_go, plan_let_go
from stockpot.core.stages import CheckInput
from stockpot.core.unlearning_checks import purge_of
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World

KEPT_ATTEMPTS = 3
"""How many attempts of an endlessly retried run are kept, so that people can read their logs."""


@dataclass(frozen=True)
class Plan:
    """Actions, in order. Applying a plan twice does no harm; an empty plan means nothing to do."""

    actions: tuple[Action, ...] = ()

    @property
    def is_irrevocable(self) -> bool:
        """Whether any of its actions cannot be undone."""
        return any(isinstance(action, IRREVOCABLE) for action in self.actions)


def check(world: World, now: datetime) -> Assessment:
    """Assess the soup, its shards and its targets: what is reached, and what blocks the next."""
    admission = admit(world, now)
    overdue = frozenset(
        target.uid for target in world.targets if is_overdue(target, world.soup, now)
    )
    survivors = wanted_recipe(world, admission.members)
    recipe = until_merged(world, survivors, overdue)
    diverged = receipt_chain_diverged(world, now) if world.soup.alive else None
    if diverged and isinstance(recipe, Recipe):
        recipe = Recipe((), world.soup.output)
    inputs = CheckInput(world, admission, recipe, survivors, diverged, overdue)
    pending = {
        **{shard.uid: pending_learning_stage(shard, inputs) for shard in world.shards},
        **{target.uid: pending_unlearning_stage(target, inputs) for target in world.targets},
    }
    is_leaving = world.soup.is_being_deleted
    soup_blocker = deletion_blocker(inputs, pending) if is_leaving else _soup_blocker(inputs)
    assessment = Assessment(inputs, pending, soup_blocker)
    return replace(assessment, due_at=_next_due_time(assessment, now))


def _next_due_time(assessment: Assessment, now: datetime) -> datetime | None:
    """Return when time alone changes something: whatever is next.

    A shard expires, a deadline passes, a rescan is due, or a failed run is tried again.
    """
    world = assessment.inputs.world
    times = [
        *(shard.expires_at for shard in world.shards if shard.uid not in world.receipted),
        *(
            deadline(target, world.soup)
            for target in world.targets
            if target.uid not in world.receipted
        ),
        rescan_due_at(world),
        *(retry_at(start, world) for start in _wanted(assessment)),
    ]
    return min((time for time in times if time and time > now), default=None)


def _soup_blocker(inputs: CheckInput) -> Blocker | None:
    if inputs.receipt_chain_diverged:
        return inputs.receipt_chain_diverged
    if isinstance(inputs.recipe, Blocker):
        return inputs.recipe
    if not inputs.world.is_current(inputs.recipe):
        return not_merged(inputs.recipe, inputs.world)
    return served_as_asked(inputs.world)


def plan(assessment: Assessment, now: datetime) -> Plan:
    """Decide about one soup and all of its shards together, so that no two plans disagree."""
    retries = plan_retries(_wanted(assessment), assessment.inputs.world)
    actions = (*retries, *_shards(assessment, now), *_soup(assessment, now))
    return Plan(tuple(dict.fromkeys(actions)))


def _shards(assessment: Assessment, now: datetime) -> Iterator[Action]:
    world = assessment.inputs.world
    if is_let_go(assessment.inputs, assessment.pending):
        yield from plan_let_go(assessment.inputs, assessment.pending)
        return
    free = world.soup.parallelism - world.active_trainings
    # Targets first: unlearning does not wait for training slots.
    for target in sorted(world.targets, key=lambda target: target.name):
        if isinstance(target.owner, ShardObject) and target.owner.shard.records_asked_at:
            yield CancelRecordRemoval(target.uid)
        yield from plan_target(target, assessment.inputs, assessment.pending[target.uid], now)
    for shard in sorted(world.shards, key=_urgency):
        if shard.records_asked_at and not shard.leaving_records:
            yield CancelRecordRemoval(shard.uid)
        for action in plan_shard(shard, assessment.inputs, assessment.pending[shard.uid], now):
            if isinstance(action, StartTraining) and not shard.leaving_records:
                if free <= 0:
                    continue
                free -= 1
            yield action


def _urgency(shard: Shard) -> tuple[bool, str]:
    return not shard.leaving_records, shard.name


def _sign(assessment: Assessment, now: datetime) -> Iterator[Action]:
    """Record receipts that were signed, and start the next sign run: one at a time."""
    inputs = assessment.inputs
    if inputs.receipt_chain_diverged:
        return  # One end of the chain is missing: nothing may be added to it.
    yield from signed_receipts(inputs.world)
    if start := due_signing(inputs, assessment.pending):
        yield from start_once(start, inputs.world, now)


def _soup(assessment: Assessment, now: datetime) -> Iterator[Action]:
    yield from _hold(assessment)
    if is_let_go(assessment.inputs, assessment.pending):
        # Purges and receipts are the debt's, whose round may start them as soon as the Soup went.
        yield from plan_servers(assessment.inputs.world)
        return
    yield from _sign(assessment, now)
    yield from _make(assessment, now)
    yield from plan_servers(assessment.inputs.world)
    yield from _evaluate(assessment.inputs.world, now)
    yield from _rescan(assessment.inputs, now)
    yield from _leftovers(assessment)


def _hold(assessment: Assessment) -> Iterator[Action]:
    """Keep our finalizer on the soup until its shards are unlearned, its runs and servers gone.

    Servers go before the soup: deleted with `--cascade=orphan` it takes none with it.
    """
    world = assessment.inputs.world
    soup = world.soup
    if soup.alive and not soup.held and not soup.is_ending:
        yield HoldSoup()
    if soup.alive or not soup.held or world.runs or world.replicas:
        return
    if is_let_go(assessment.inputs, assessment.pending):
        return  # What lets it go releases it as well.
    is_learnt = any(shard.held or shard.trained for shard in world.shards)
    if not is_learnt and not any(_needs_soup(target, assessment) for target in world.targets):
        yield ReleaseSoup()


def _needs_soup(target: UnlearningTarget, assessment: Assessment) -> bool:
    """Whether a target is not unlearned and released yet."""
    is_held = isinstance(target.owner, ShardObject) and target.owner.shard.held
    return is_held or target.is_lost or assessment.pending[target.uid] is not None


def _make(assessment: Assessment, now: datetime) -> tuple[Action, ...]:
    """Merge the recipe that should be served, then promote its revision."""
    world, recipe = assessment.inputs.world, assessment.inputs.recipe
    if isinstance(recipe, Blocker) or world.is_current(recipe):
        return ()
    if revision := world.made(recipe):
        number = 0 if recipe.is_base else world.soup.promotions + 1
        return (Promote(Promotion(revision, world.next_epoch, number)),)
    start = StartMerge(recipe)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, MergeResult):
        revision = Revision(recipe, Digest(result.weights_digest))
        base, way, read_bytes = Digest(result.base_digest), result.way or "", result.read_bytes or 0
        size, pixels = result.size_bytes, result.pixels_per_latent
        return (RecordRevision(revision, base, size, way, read_bytes, pixels),)
    return start_once(start, world, now)


def _evaluate(world: World, now: datetime) -> tuple[Action, ...]:
    """Evaluate the promoted revision while it is rolled out."""
    if (revision := _to_evaluate(world)) is None:
        return ()
    start = StartEvaluation(revision)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, EvaluateResult):
        return (RecordEvaluation(revision, tuple(result.figures.items()), result.omissions),)
    return () if world.soup.unusable_evaluation else start_once(start, world, now)


def _rescan(inputs: CheckInput, now: datetime) -> tuple[Action, ...]:
    """Rescan the store for resurrected artifacts, when that is due."""
    world = inputs.world
    due = rescan_due_at(world, soon=inputs.receipt_chain_diverged is not None)
    start = next_rescan(world)
    if due is None:
        return ()
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, RescanResult):
        return (RecordRescan(start.number, result.purged_objects, result.unrecorded_receipts),)
    return start_once(start, world, now) if run or now >= due else ()


def _to_evaluate(world: World) -> Revision | None:
    promoted = world.soup.current
    if promoted is None or not world.soup.evaluates or not world.soup.alive:
        return None
    revision = promoted.revision
    known = revision.recipe.digest in world.soup.evaluated
    return None if known or not world.is_clean(revision.lineage) else revision


def _leftovers(assessment: Assessment) -> Iterator[Action]:
    """End runs that are not needed, and delete revisions that name an unlearned ingredient."""
    world = assessment.inputs.world
    wanted = {start.stem: start for start in _wanted(assessment)}
    for run in world.runs:
        if is_signing(run) and is_kept(run, world):
            continue
        start = wanted.get(run.stem)
        if start is None or not (is_attempt_at(run, start) and _is_kept(run, start, world)):
            yield EndRun(run.name)
    for revision in world.soup.made:
        is_served = revision.recipe == world.serving_recipe and (world.soup.alive or world.servers)
        if (
            not world.is_clean(revision.lineage)
            and not is_served
            and not is_only_trace(revision, world)
        ):
            yield ForgetRevision(revision)


def is_only_trace(revision: Revision, world: World) -> bool:
    """Whether a revision is the only trace of a lost shard, because no deletion is recorded yet."""
    return any(
        target.is_lost and target.requested_at is None and target.is_in(revision.lineage)
        for target in world.targets
    )


def _is_kept(run: Run, start: Start, world: World) -> bool:
    """Whether an attempt is kept: its result, its log or its name is still needed.

    Attempts of a training or merge stay until it has a result: their names keep a deposed leader
    from starting them again. Of runs that are retried forever only the last few stay.
    """
    tries = attempt_of(run.name, start)
    kept = KEPT_ATTEMPTS if start.is_owed else attempts_so_far(start, world)
    return tries > max(0, attempts_so_far(start, world) - kept)


def _wanted(assessment: Assessment) -> Iterator[Start]:
    world, recipe = assessment.inputs.world, assessment.inputs.recipe
    for target in world.targets:
        if target.is_being_deleted or assessment.pending[target.uid]:
            yield purge_of(target)
    for shard in world.shards if world.soup.alive else ():
        yield from wanted_runs(shard, world)
    if signing := due_signing(assessment.inputs, assessment.pending):
        yield signing
    for wanted in (recipe, assessment.inputs.survivors):
        if not isinstance(wanted, Blocker) and not world.made(wanted):
            yield StartMerge(wanted)
    if revision := _to_evaluate(world):
        yield StartEvaluation(revision)
    if rescan_due_at(world):
        yield next_rescan(world)
