"""From what was found to what to ask for. Same arguments, same plan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from stockpot.api.results import EvaluateResult, MergeResult, RescanResult, TrainResult
from stockpot.api.run_kinds import RunKind
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
    StartTraining,
    attempt_of,
    is_attempt_at,
    is_signing,
    next_attempt,
)
from stockpot.core.attempts import attempts_at, last_attempt
from stockpot.core.blocker import Blocker
from stockpot.core.checks import Assessment, next_rung
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.due_receipts import due_signing, is_kept, signed_receipts
from stockpot.core.learning_checks import may_disown, not_merged, served_as_asked
from stockpot.core.membership import (
    deadline,
    is_overdue,
    membership,
    until_merged,
    wanted_recipe,
)
from stockpot.core.receipt_chain import out_of_step
from stockpot.core.recipe import Ingredient, Recipe
from stockpot.core.rescan import collection_due_at, next_collection
from stockpot.core.retry import due_at, gives_up, looked_at_again
from stockpot.core.server_plan import plan_servers
from stockpot.core.stages import CheckInput, PendingStage, Stage
from stockpot.core.unlearning_checks import purge_of
from stockpot.core.world import Promotion, Revision, Run, Shard, TrainingOutcome, World

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
    overdue = frozenset(s.uid for s in world.shards if is_overdue(s, world.soup, now))
    survivors = wanted_recipe(world, who.members)
    recipe = until_merged(world, survivors, overdue)
    broken = out_of_step(world, now) if world.soup.alive else None
    if broken and isinstance(recipe, Recipe):
        recipe = Recipe((), world.soup.output)
    scene = CheckInput(world, who, recipe, survivors, broken, overdue)
    rungs = {shard.uid: next_rung(shard, scene) for shard in world.shards}
    return Assessment(scene, rungs, _soup_lacks(scene), _time_alone_changes(scene, now))


def _time_alone_changes(scene: CheckInput, now: datetime) -> datetime | None:
    """When a shard expires, or a deadline passes."""
    soup = scene.world.soup
    times = [
        deadline(shard, soup) if not shard.alive else shard.expires_at
        for shard in scene.world.shards
        if shard.uid not in scene.world.receipted
    ]
    times.append(collection_due_at(scene.world))
    return min((time for time in times if time and time > now), default=None)


def _soup_lacks(scene: CheckInput) -> Blocker | None:
    if scene.out_of_step:
        return scene.out_of_step
    if isinstance(scene.recipe, Blocker):
        return scene.recipe
    if not scene.world.is_current(scene.recipe):
        return not_merged(scene.recipe, scene.world)
    return served_as_asked(scene.world)


def plan(findings: Assessment, now: datetime) -> Plan:
    """Decide about one soup and all of its shards together, so that no two plans disagree."""
    actions = (*_shards(findings, now), *_soup(findings, now))
    return Plan(tuple(dict.fromkeys(actions)))


def _shards(findings: Assessment, now: datetime) -> Iterator[Action]:
    world = findings.scene.world
    free = world.soup.parallelism - sum(
        1 for run in world.runs if run.is_active and run.kind is RunKind.TRAIN
    )
    # Those who leave go first: what is being forgotten waits for nobody.
    for shard in sorted(world.shards, key=_urgency):
        if shard.records_asked_at and not shard.leaving_records:
            yield CancelRecordRemoval(shard.uid)
        for action in plan_shard(shard, findings.scene, findings.rungs[shard.uid], now):
            if isinstance(action, StartTraining) and not shard.leaving_records:
                if free <= 0:
                    continue
                free -= 1
            yield action


def _urgency(shard: Shard) -> tuple[bool, bool, str]:
    return shard.alive, not shard.leaving_records, shard.name


def plan_shard(
    shard: Shard, scene: CheckInput, rung: PendingStage | None, now: datetime
) -> tuple[Action, ...]:
    """Ask for what the shard's next rung needs: up to be learnt, or up to be forgotten."""
    world = scene.world
    if rung is None or shard.goes_by_force:
        return _release(shard, world)
    match rung.stage:
        case Stage.HELD:
            return _hold_shard(shard, world)
        case Stage.TRAINED:
            return _train(shard, world, now)
        case Stage.TOMBSTONED:
            # One that expired is no more held than one that was never seen before.
            is_free = not (shard.held or shard.leaving or shard.is_lost)
            hold = (HoldShard(shard.uid),) if is_free and world.soup.held else ()
            return (*hold, RecordDeletion(shard.uid))
        case Stage.QUIESCED:
            # A purge that ran beside a writer has proved nothing: it is done again.
            again = attempts_at(purge_of(shard), world)
            return _end((*world.runs_with(shard), *again))
        case Stage.PURGED:
            return _purge(shard, world, now)
        case Stage.EXCLUDED | Stage.ROLLED_OUT:
            # The soup without it is made and granted by the soup's own part of the plan. Its
            # writers end at once: whatever they would still make, nobody may have.
            return _end(world.runs_with(shard))
        case Stage.INCLUDED | Stage.SERVED | Stage.VERIFIED | Stage.RECEIPTED:
            # The soup's part: servers drop it by themselves, for no grant names it; receipts of
            # several shards are signed by one run.
            return ()
        case never:
            assert_never(never)


def _hold_shard(shard: Shard, world: World) -> tuple[Action, ...]:
    """Hold a shard, once its soup is held: without a soup nobody could let it go again.

    Of a soup that is being deleted nothing more is made; but what was made has to be forgotten.
    """
    is_needed = world.soup.alive or shard.trained
    return (HoldShard(shard.uid),) if world.soup.held and is_needed else ()


def _release(shard: Shard, world: World) -> tuple[Action, ...]:
    """Let a shard go that stands at the top of its ladder, if it is to go; or by force."""
    if shard.goes_by_force:
        # All that is known of it is in the Soup first: what it left is unlearned from there.
        return (ReleaseShard(shard.uid),) if shard.is_noted else (RecordDeletion(shard.uid),)
    goes = shard.is_lost or shard.former or (shard.leaving and shard.held)
    # A revision that names it is how a shard whose finalizer was taken away is found again.
    is_named = any(shard.is_in(revision.lineage) for revision in world.soup.made)
    return (ReleaseShard(shard.uid),) if goes and not shard.alive and not is_named else ()


def _train(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    if not world.soup.alive or shard.put_back:
        return ()
    if shard.leaving_records:
        return (*_leave_out(shard, world, now), *_once(_training_of(shard), world, now))
    if shard.trained:
        return ()  # From another base: it was trained once, and no plan trains it again.
    start = _training_of(shard)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, TrainResult):
        trained = TrainingOutcome(
            Digest(result.training_key),
            Digest(result.weights_digest),
            now,
            Digest(result.base_digest),
            Digest(result.data_digest),
            result.records,
            shard.leave_out,
            result.omissions,
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
    if not may_disown(shard, world, now):
        return ()
    names = tuple(sorted(shard.leaving_records))
    # What has no key yet is named by what leaves it.
    unknown = Ingredient(shard.uid, digest_of_json("left-out/1", list(names)))
    return (
        DropIngredient(shard.uid, shard.stale or unknown, names, is_known=shard.stale is not None),
    )


def _purge(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    """Purge it; where an Incomplete receipt says what was left, until nothing is."""
    start = purge_of(shard)
    run = last_attempt(start, world)
    if run is None or run.result is None:
        return _once(start, world, now)
    tries = attempt_of(run.name, start)
    due = looked_at_again(run.ended_at, tries)
    return (next_attempt(start, tries + 1),) if due and now >= due else ()


def _sign(findings: Assessment, now: datetime) -> Iterator[Action]:
    """Record what was signed, and have the receipts signed that are due, by one run at a time."""
    scene = findings.scene
    if scene.out_of_step:
        return  # Nothing is recorded or signed of a chain of which an end is missing.
    yield from signed_receipts(scene.world)
    if start := due_signing(scene, findings.rungs):
        yield from _once(start, scene.world, now)


def _soup(findings: Assessment, now: datetime) -> Iterator[Action]:
    yield from _hold(findings)
    yield from _sign(findings, now)
    yield from _make(findings, now)
    yield from plan_servers(findings.scene.world)
    yield from _evaluate(findings.scene.world, now)
    yield from _collect(findings.scene, now)
    yield from _leftovers(findings)


def _hold(findings: Assessment) -> Iterator[Action]:
    """Keep the soup until the last of its shards is forgotten, and every run of it is gone."""
    world = findings.scene.world
    soup = world.soup
    if soup.alive and not soup.held:
        yield HoldSoup()
    if soup.alive or not soup.held or world.runs:
        return
    if not any(shard.held or _is_owed(shard, findings) for shard in world.shards):
        yield ReleaseSoup()


def _is_owed(shard: Shard, findings: Assessment) -> bool:
    """Whether a shard is to be unlearned, now or later, though nothing holds its object now."""
    if shard.alive:
        return shard.trained is not None
    return shard.is_lost or findings.rungs[shard.uid] is not None


def _make(findings: Assessment, now: datetime) -> tuple[Action, ...]:
    """Merge what should be served, then promote it."""
    world, recipe = findings.scene.world, findings.scene.recipe
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
        return (RecordRevision(revision, base, result.size_bytes, way, read_bytes),)
    return _once(start, world, now)


def _evaluate(world: World, now: datetime) -> tuple[Action, ...]:
    """Look at what was promoted, beside its rollout."""
    if (revision := _to_evaluate(world)) is None:
        return ()
    start = StartEvaluation(revision)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, EvaluateResult):
        return (RecordEvaluation(revision, tuple(result.figures.items()), result.omissions),)
    return _once(start, world, now)


def _collect(scene: CheckInput, now: datetime) -> tuple[Action, ...]:
    """Look for what came back of what was forgotten, when it is time."""
    world = scene.world
    due = collection_due_at(world, soon=scene.out_of_step is not None)
    start = next_collection(world)
    if due is None:
        return ()
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, RescanResult):
        return (RecordRescan(start.number, result.purged_objects, result.unrecorded_receipts),)
    return _once(start, world, now) if run or now >= due else ()


def _to_evaluate(world: World) -> Revision | None:
    promoted = world.soup.current
    if promoted is None or not world.soup.evaluates or not world.soup.alive:
        return None
    revision = promoted.revision
    known = revision.recipe.digest in world.soup.evaluated
    return None if known or not world.is_clean(revision.lineage) else revision


def _leftovers(findings: Assessment) -> Iterator[Action]:
    """End runs that nobody waits for any more, and drop what a deleted shard is in."""
    world = findings.scene.world
    wanted = {start.stem: start for start in _wanted(findings)}
    for run in world.runs:
        if is_signing(run) and is_kept(run, world):
            continue
        start = wanted.get(run.stem)
        if start is None or not (is_attempt_at(run, start) and _is_kept(run, start, world)):
            yield EndRun(run.name)
    for revision in world.soup.made:
        is_served = revision.recipe == world.serving_recipe and (world.soup.alive or world.servers)
        if not world.is_clean(revision.lineage) and not is_served and not unnoted(revision, world):
            yield ForgetRevision(revision)


def unnoted(revision: Revision, world: World) -> bool:
    """Whether it is the only trace of a shard whose object is gone: until that is written down."""
    return any(
        shard.is_lost and shard.requested_at is None and shard.is_in(revision.lineage)
        for shard in world.shards
    )


def _is_kept(run: Run, start: Start, world: World) -> bool:
    """Whether it is an attempt at that, and worth being looked at.

    No attempt at a training or merge goes before it came to something: its name is what keeps
    a leader that was deposed from starting it once more. What is tried for ever may go.
    """
    tries = attempt_of(run.name, start)
    return tries > (max(0, _tries(start, world) - KEPT_ATTEMPTS) if start.is_owed else 0)


def _wanted(findings: Assessment) -> Iterator[Start]:
    world, recipe = findings.scene.world, findings.scene.recipe
    for shard in world.shards:
        if not shard.alive and (shard.leaving or findings.rungs[shard.uid]):
            yield purge_of(shard)
        elif shard.alive and not shard.usable and world.soup.alive:
            yield _training_of(shard)
    if signing := due_signing(findings.scene, findings.rungs):
        yield signing
    for one in (recipe, findings.scene.survivors):
        if not isinstance(one, Blocker) and not world.made(one):
            yield StartMerge(one)
    if revision := _to_evaluate(world):
        yield StartEvaluation(revision)
    if collection_due_at(world):
        yield next_collection(world)


def _once(start: Start, world: World, now: datetime) -> tuple[Action, ...]:
    """Start it, unless it runs or ran; try again what failed by the world's fault, in time."""
    run = last_attempt(start, world)
    if run is None:
        return (start,)
    tries = attempt_of(run.name, start)
    if run.failure is None:
        return ()
    if gives_up(run.failure, tries, world.soup.max_attempts, is_owed=start.is_owed):
        return ()
    due = due_at(run.failure, tries)
    return (next_attempt(start, tries + 1),) if due is None or now >= due else ()


def _tries(start: Start, world: World) -> int:
    run = last_attempt(start, world)
    return attempt_of(run.name, start) if run else 0


def _end(runs: Iterable[Run]) -> tuple[EndRun, ...]:
    return tuple(EndRun(run.name) for run in runs)
