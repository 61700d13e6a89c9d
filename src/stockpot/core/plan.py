"""From what was found to what to ask for. Same arguments, same plan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from stockpot.core.actions import (
    IRREVOCABLE,
    Action,
    CancelRecordRemoval,
    DropIngredient,
    EndRun,
    ForgetRevision,
    HoldShard,
    HoldSoup,
    Promote,
    RecordDeletion,
    RecordEvaluation,
    RecordIngredient,
    RecordRescan,
    RecordRevision,
    ReleaseShard,
    ReleaseSoup,
    RequestRecordRemoval,
    Start,
    StartEvaluation,
    StartMerge,
    StartPurge,
    StartRescan,
    StartSigning,
    StartTraining,
    attempt_of,
    is_attempt_at,
    is_signing,
    next_attempt,
)
from stockpot.core.attempts import attempts_at, last_attempt
from stockpot.core.blocker import Blocker
from stockpot.core.checks import (
    Assessment,
    pending_learning_stage,
    pending_unlearning_stage,
)
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.due_receipts import due_signing, is_kept, signed_receipts
from stockpot.core.learning_checks import may_drop_ingredient, not_merged, served_as_asked
from stockpot.core.membership import (
    deadline,
    is_overdue,
    membership,
    until_merged,
    wanted_recipe,
)
from stockpot.core.receipt_chain import receipt_chain_diverged
from stockpot.core.recipe import Ingredient, Recipe
from stockpot.core.rescan import next_rescan, rescan_due_at
from stockpot.core.retry import due_at, gives_up, is_owed, purge_again_at
from stockpot.core.revision import Promotion, Revision
from stockpot.core.runs import Run
from stockpot.core.server_plan import plan_servers
from stockpot.core.shard import Shard, TrainingOutcome
from stockpot.core.stages import CheckInput, PendingStage, Stage
from stockpot.core.unlearning_checks import purge_of
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World

KEPT_ATTEMPTS = 3
"""How many of the attempts at one thing are kept to be looked at."""


@dataclass(frozen=True)
class Plan:
    """What to ask for, in order. Applied twice it does no harm; an empty one is a settled world."""

    actions: tuple[Action, ...] = ()

    @property
    def is_irrevocable(self) -> bool:
        """Whether anything in it cannot be taken back."""
        return any(isinstance(action, IRREVOCABLE) for action in self.actions)


def check(world: World, now: datetime) -> Assessment:
    """Find out where the soup and each of its shards stand."""
    who = membership(world, now)
    overdue = frozenset(
        target.uid for target in world.targets if is_overdue(target, world.soup, now)
    )
    survivors = wanted_recipe(world, who.members)
    recipe = until_merged(world, survivors, overdue)
    broken = receipt_chain_diverged(world, now) if world.soup.alive else None
    if broken and isinstance(recipe, Recipe):
        recipe = Recipe((), world.soup.output)
    inputs = CheckInput(world, who, recipe, survivors, broken, overdue)
    pending = {
        **{shard.uid: pending_learning_stage(shard, inputs) for shard in world.shards},
        **{target.uid: pending_unlearning_stage(target, inputs) for target in world.targets},
    }
    return Assessment(inputs, pending, _soup_lacks(inputs), _time_alone_changes(inputs, now))


def _time_alone_changes(inputs: CheckInput, now: datetime) -> datetime | None:
    """When a shard expires, or a deadline passes."""
    world = inputs.world
    times = [
        *(shard.expires_at for shard in world.shards if shard.uid not in world.receipted),
        *(
            deadline(target, world.soup)
            for target in world.targets
            if target.uid not in world.receipted
        ),
        rescan_due_at(world),
    ]
    return min((time for time in times if time and time > now), default=None)


def _soup_lacks(inputs: CheckInput) -> Blocker | None:
    if inputs.receipt_chain_diverged:
        return inputs.receipt_chain_diverged
    if isinstance(inputs.recipe, Blocker):
        return inputs.recipe
    if not inputs.world.is_current(inputs.recipe):
        return not_merged(inputs.recipe, inputs.world)
    return served_as_asked(inputs.world)


def plan(assessment: Assessment, now: datetime) -> Plan:
    """Decide about one soup and all of its shards together, so that no two plans disagree."""
    actions = (*_shards(assessment, now), *_soup(assessment, now))
    return Plan(tuple(dict.fromkeys(actions)))


def _shards(assessment: Assessment, now: datetime) -> Iterator[Action]:
    world = assessment.inputs.world
    free = world.soup.parallelism - sum(
        1 for run in world.runs if run.is_active and run.name.startswith("train-")
    )
    # Those who leave go first: what is being forgotten waits for nobody.
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


def plan_shard(
    shard: Shard, inputs: CheckInput, pending: PendingStage | None, now: datetime
) -> tuple[Action, ...]:
    """Ask for what the next learning stage of a shard needs."""
    match pending.stage if pending else None:
        case Stage.HELD:
            return _hold_shard(shard, inputs.world)
        case Stage.TRAINED:
            return _train(shard, inputs.world, now)
        case _:
            # INCLUDED and SERVED are the soup's part of the plan.
            return ()


def plan_target(
    target: UnlearningTarget, inputs: CheckInput, pending: PendingStage | None, now: datetime
) -> tuple[Action, ...]:
    """Ask for what the next unlearning stage of a target needs."""
    world, owner = inputs.world, target.owner
    if isinstance(owner, ShardObject) and target.is_forced:
        # All that is known of it is in the Soup first: what it left is unlearned from there.
        is_recorded = owner.is_recorded
        return (ReleaseShard(target.uid),) if is_recorded else (RecordDeletion(target.uid),)
    match pending.stage if pending else None:
        case None:
            return _release(target, world)
        case Stage.TOMBSTONED:
            return (*_hold_expired(target, world), RecordDeletion(target.uid))
        case Stage.QUIESCED:
            # A purge that ran beside a writer has proved nothing: it is done again.
            again = attempts_at(purge_of(target), world)
            return _end((*world.runs_with(target), *again))
        case Stage.PURGED:
            return _purge(target, world, now)
        case Stage.EXCLUDED | Stage.ROLLED_OUT:
            # The soup without it is made and granted by the soup's own part of the plan. Its
            # writers end at once: whatever they would still make, nobody may have.
            return _end(world.runs_with(target))
        case _:
            # VERIFIED and RECEIPTED are the soup's part: servers drop it by themselves, for no
            # grant names it; receipts of several targets are signed by one run.
            return ()


def _hold_expired(target: UnlearningTarget, world: World) -> tuple[Action, ...]:
    """Hold a shard that expired before it got our finalizer."""
    owner = target.owner
    is_free = isinstance(owner, ShardObject) and not (owner.shard.held or owner.is_deleted)
    return (HoldShard(target.uid),) if is_free and world.soup.held else ()


def _hold_shard(shard: Shard, world: World) -> tuple[Action, ...]:
    """Hold a shard, once its soup is held: without a soup nobody could let it go again.

    Of a soup that is being deleted nothing more is made; but what was made has to be forgotten.
    """
    is_needed = world.soup.alive or shard.trained
    return (HoldShard(shard.uid),) if world.soup.held and is_needed else ()


def _release(target: UnlearningTarget, world: World) -> tuple[Action, ...]:
    """Let a target go that stands at the top of its ladder, if it is to go."""
    owner = target.owner
    goes = not isinstance(owner, ShardObject) or (owner.is_deleted and owner.shard.held)
    # A revision that names it is how a shard whose finalizer was taken away is found again.
    is_named = any(target.is_in(revision.lineage) for revision in world.soup.made)
    return (ReleaseShard(target.uid),) if goes and not is_named else ()


def _train(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    if not world.soup.alive or shard.readded_records:
        return ()
    if shard.leaving_records:
        return (*_leave_out(shard, world, now), *_once(_training_of(shard), world, now))
    if shard.trained:
        return ()  # From another base: it was trained once, and no plan trains it again.
    start = _training_of(shard)
    run = last_attempt(start, world)
    if run and run.result:
        said = run.result
        if said.training_key and said.weights_digest and said.base_digest and said.data_digest:
            trained = TrainingOutcome(
                Digest(said.training_key),
                Digest(said.weights_digest),
                now,
                Digest(said.base_digest),
                Digest(said.data_digest),
                said.records or 0,
                shard.excluded_records,
                said.omissions,
            )
            return (RecordIngredient(shard.uid, trained),)
    if world.forgotten_by(shard):
        return ()
    if world.soup.unknown or (world.soup.suspended and run is None):
        return ()
    return _once(start, world, now)


def _training_of(shard: Shard) -> StartTraining:
    return StartTraining(shard.uid, shard.request)


def _leave_out(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    """Let records leave a shard: noted at once, for good when nothing speaks against it."""
    if shard.records_asked_at is None:
        return (RequestRecordRemoval(shard.uid),)
    if not may_drop_ingredient(shard, world, now):
        return ()
    names = tuple(sorted(shard.leaving_records))
    # What has no key yet is named by what leaves it.
    unknown = Ingredient(shard.uid, digest_of_json("left-out/1", list(names)))
    return (
        DropIngredient(
            shard.uid,
            shard.outdated_ingredient or unknown,
            names,
            is_known=shard.outdated_ingredient is not None,
        ),
    )


def _purge(target: UnlearningTarget, world: World, now: datetime) -> tuple[Action, ...]:
    """Purge it; where an Incomplete receipt says what was left, until nothing is."""
    start = purge_of(target)
    run = last_attempt(start, world)
    if run is None or run.result is None:
        return _once(start, world, now)
    tries = attempt_of(run.name, start)
    due = purge_again_at(run.ended_at, tries)
    return (next_attempt(start, tries + 1),) if due and now >= due else ()


def _sign(assessment: Assessment, now: datetime) -> Iterator[Action]:
    """Record what was signed, and have the receipts signed that are due, by one run at a time."""
    inputs = assessment.inputs
    if inputs.receipt_chain_diverged:
        return  # Nothing is recorded or signed of a chain of which an end is missing.
    yield from signed_receipts(inputs.world)
    if start := due_signing(inputs, assessment.pending):
        yield from _once(start, inputs.world, now)


def _soup(assessment: Assessment, now: datetime) -> Iterator[Action]:
    yield from _hold(assessment)
    yield from _sign(assessment, now)
    yield from _make(assessment, now)
    yield from plan_servers(assessment.inputs.world)
    yield from _evaluate(assessment.inputs.world, now)
    yield from _collect(assessment.inputs, now)
    yield from _leftovers(assessment)


def _hold(assessment: Assessment) -> Iterator[Action]:
    """Keep the soup until the last of its shards is forgotten, and every run of it is gone."""
    world = assessment.inputs.world
    soup = world.soup
    if soup.alive and not soup.held:
        yield HoldSoup()
    if soup.alive or not soup.held or world.runs:
        return
    is_learnt = any(shard.held or shard.trained for shard in world.shards)
    if not is_learnt and not any(_needs_soup(target, assessment) for target in world.targets):
        yield ReleaseSoup()


def _needs_soup(target: UnlearningTarget, assessment: Assessment) -> bool:
    """Whether a target is not unlearned and released yet."""
    is_held = isinstance(target.owner, ShardObject) and target.owner.shard.held
    return is_held or target.is_lost or assessment.pending[target.uid] is not None


def _make(assessment: Assessment, now: datetime) -> tuple[Action, ...]:
    """Merge what should be served, then promote it."""
    world, recipe = assessment.inputs.world, assessment.inputs.recipe
    if isinstance(recipe, Blocker) or world.is_current(recipe):
        return ()
    if revision := world.made(recipe):
        number = 0 if recipe.is_base else world.soup.promotions + 1
        return (Promote(Promotion(revision, world.next_epoch, number)),)
    start = StartMerge(recipe)
    run = last_attempt(start, world)
    if run and run.result and run.result.weights_digest and run.result.base_digest:
        said = run.result
        revision = Revision(recipe, Digest(said.weights_digest or ""))
        base, size_bytes = Digest(said.base_digest or ""), said.size_bytes or 0
        way, read_bytes = said.figures.get("way", ""), int(said.figures.get("readBytes", "0"))
        return (RecordRevision(revision, base, size_bytes, way, read_bytes),)
    return _once(start, world, now)


def _evaluate(world: World, now: datetime) -> tuple[Action, ...]:
    """Look at what was promoted, beside its rollout."""
    if (revision := _to_evaluate(world)) is None:
        return ()
    start = StartEvaluation(revision)
    run = last_attempt(start, world)
    if run and run.result:
        result = run.result
        return (RecordEvaluation(revision, tuple(result.figures.items()), result.omissions),)
    return _once(start, world, now)


def _collect(inputs: CheckInput, now: datetime) -> tuple[Action, ...]:
    """Look for what came back of what was forgotten, when it is time."""
    world = inputs.world
    due = rescan_due_at(world, soon=inputs.receipt_chain_diverged is not None)
    start = next_rescan(world)
    if due is None:
        return ()
    run = last_attempt(start, world)
    if run and run.result:
        said = run.result
        removed = said.purged_objects or 0
        return (RecordRescan(start.number, removed, said.unrecorded_receipts),)
    return _once(start, world, now) if run or now >= due else ()


def _to_evaluate(world: World) -> Revision | None:
    promoted = world.soup.current
    if promoted is None or not world.soup.evaluates or not world.soup.alive:
        return None
    revision = promoted.revision
    known = revision.recipe.digest in world.soup.evaluated
    return None if known or not world.is_clean(revision.lineage) else revision


def _leftovers(assessment: Assessment) -> Iterator[Action]:
    """End runs that nobody waits for any more, and drop what a deleted shard is in."""
    world = assessment.inputs.world
    wanted = {start.stem: start for start in _wanted(assessment)}
    for run in world.runs:
        if is_signing(run) and is_kept(run, world):
            continue
        start = wanted.get(run.name.rpartition("-")[0])
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
    """Whether it is the only trace of a shard whose object is gone: until that is written down."""
    return any(
        target.is_lost and target.requested_at is None and target.is_in(revision.lineage)
        for target in world.targets
    )


def _is_kept(run: Run, start: Start, world: World) -> bool:
    """Whether it is an attempt at that, and worth being looked at.

    No attempt at a training or merge goes before it came to something: its name is what keeps
    a leader that was deposed from starting it once more. What is tried for ever may go.
    """
    tries = attempt_of(run.name, start)
    endless = isinstance(start, StartPurge | StartSigning | StartRescan)
    return tries > (max(0, _tries(start, world) - KEPT_ATTEMPTS) if endless else 0)


def _wanted(assessment: Assessment) -> Iterator[Start]:
    world, recipe = assessment.inputs.world, assessment.inputs.recipe
    for target in world.targets:
        if target.is_being_deleted or assessment.pending[target.uid]:
            yield purge_of(target)
    for shard in world.shards:
        if not shard.usable_training and world.soup.alive:
            yield _training_of(shard)
    if signing := due_signing(assessment.inputs, assessment.pending):
        yield signing
    for one in (recipe, assessment.inputs.survivors):
        if not isinstance(one, Blocker) and not world.made(one):
            yield StartMerge(one)
    if revision := _to_evaluate(world):
        yield StartEvaluation(revision)
    if rescan_due_at(world):
        yield next_rescan(world)


def _once(start: Start, world: World, now: datetime) -> tuple[Action, ...]:
    """Start it, unless it runs or ran; try again what failed by the world's fault, in time."""
    run = last_attempt(start, world)
    if run is None:
        return (start,)
    tries = attempt_of(run.name, start)
    if run.failure is None:
        return ()
    if gives_up(run.failure, tries, world.soup.max_attempts, is_owed=is_owed(start)):
        return ()
    due = due_at(run.failure, tries)
    return (next_attempt(start, tries + 1),) if due is None or now >= due else ()


def _tries(start: Start, world: World) -> int:
    run = last_attempt(start, world)
    return attempt_of(run.name, start) if run else 0


def _end(runs: Iterable[Run]) -> tuple[EndRun, ...]:
    return tuple(EndRun(run.name) for run in runs)
