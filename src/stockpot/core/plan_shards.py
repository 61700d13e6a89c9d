"""What a round asks for one shard, or for one unlearning target: its next stage decides."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from stockpot.api.results import FindResult, TrainResult
from stockpot.core.actions import (
    Action,
    DropIngredient,
    EndRun,
    HoldShard,
    RecordDeletion,
    RecordFoundRecords,
    RecordIngredient,
    ReleaseShard,
    RequestRecordRemoval,
)
from stockpot.core.attempts import attempts_at, last_attempt, start_once
from stockpot.core.comparison_stage import plan_comparison
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.learning_checks import may_drop_ingredient
from stockpot.core.overlaps import wanted_comparison
from stockpot.core.recipe import Ingredient
from stockpot.core.retry import LONGEST_LOOK_S, is_due, purge_again_at
from stockpot.core.run_starts import (
    StartCompare,
    StartFind,
    StartTraining,
    attempt_of,
    next_attempt,
)
from stockpot.core.runs import Run
from stockpot.core.shard import FoundRecords, Shard, TrainingOutcome
from stockpot.core.stages import CheckInput, PendingStage, Stage
from stockpot.core.unlearning_checks import purge_of
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World


def plan_shard(
    shard: Shard, inputs: CheckInput, pending: PendingStage | None, now: datetime
) -> tuple[Action, ...]:
    """Ask for what the next learning stage of a shard needs."""
    match pending.stage if pending else None:
        case Stage.HELD:
            return _hold_shard(shard, inputs.world)
        case Stage.TRAINED:
            return _train(shard, inputs.world, now)
        case Stage.COMPARED:
            return plan_comparison(shard, inputs.world, now)
        case _:
            # INCLUDED and SERVED are the soup's part of the plan.
            return ()


def plan_target(
    target: UnlearningTarget, inputs: CheckInput, pending: PendingStage | None, now: datetime
) -> tuple[Action, ...]:
    """Ask for what the next unlearning stage of a target needs."""
    world, owner = inputs.world, target.owner
    if isinstance(owner, ShardObject) and target.is_forced:
        # The Soup's status records the target first: without the object it is unlearned from there.
        is_recorded = owner.is_recorded
        return (ReleaseShard(target.uid),) if is_recorded else (RecordDeletion(target.uid),)
    match pending.stage if pending else None:
        case None:
            return _release(target, world)
        case Stage.TOMBSTONED:
            return (*_hold_expired(target, world), RecordDeletion(target.uid))
        case Stage.QUIESCED:
            # A purge that ran beside a writer proves nothing: it is run again.
            again = attempts_at(purge_of(target), world)
            return _end((*world.runs_with(target), *again))
        case Stage.PURGED:
            return _purge(target, world, now)
        case Stage.EXCLUDED | Stage.ROLLED_OUT:
            # The soup's part of the plan merges and grants the soup without it. Its writers end
            # at once: what they would still write may not be used.
            return _end(world.runs_with(target))
        case _:
            # VERIFIED and RECEIPTED are the soup's part: servers drop what no grant names, and one
            # run signs the receipts of several targets.
            return ()


def _hold_expired(target: UnlearningTarget, world: World) -> tuple[Action, ...]:
    """Hold a shard that expired before it got our finalizer."""
    owner = target.owner
    is_free = isinstance(owner, ShardObject) and not (owner.shard.held or owner.is_deleted)
    return (HoldShard(target.uid),) if is_free and world.soup.held else ()


def _hold_shard(shard: Shard, world: World) -> tuple[Action, ...]:
    """Put our finalizer on a shard, once its soup has it: without a soup no round releases shards.

    Where the soup is being deleted, only a trained shard gets it: that one has to be unlearned.
    """
    is_needed = (world.soup.alive and not world.soup.is_ending) or shard.trained
    return (HoldShard(shard.uid),) if world.soup.held and is_needed else ()


def _release(target: UnlearningTarget, world: World) -> tuple[Action, ...]:
    """Release a target that has reached every stage; the object of an expired shard stays."""
    owner = target.owner
    goes = not isinstance(owner, ShardObject) or (owner.is_deleted and owner.shard.held)
    # While a revision names the target, a shard whose finalizer was removed by hand is found by it.
    is_named = any(target.is_in(revision.lineage) for revision in world.soup.made)
    return (ReleaseShard(target.uid),) if goes and not is_named else ()


def _train(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    if not world.soup.alive or shard.readded_records:
        return ()
    if shard.awaits_found_records:
        return _find_records(shard, world, now)
    if shard.leaving_records:
        return (*_remove_records(shard, world, now), *start_once(training_of(shard), world, now))
    if shard.trained:
        return ()  # Trained from another base: a shard is trained once.
    start = training_of(shard)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, TrainResult):
        trained = TrainingOutcome(
            Digest(result.training_key),
            Digest(result.weights_digest),
            now,
            Digest(result.base_digest),
            Digest(result.data_digest),
            result.records,
            shard.excluded_records,
            result.omissions,
        )
        return (RecordIngredient(shard.uid, trained),)
    if world.forgotten_by(shard):
        return ()
    if world.soup.unknown or (world.soup.holds_additions and run is None):
        return ()
    return start_once(start, world, now)


def training_of(shard: Shard) -> StartTraining:
    """Return the training run that the shard asks for now."""
    return StartTraining(shard.uid, shard.request)


def wanted_runs(shard: Shard, world: World) -> Iterator[StartTraining | StartFind | StartCompare]:
    """Yield the runs that a shard needs, whether or not they may start now."""
    if not shard.usable_training:
        yield training_of(shard)
    if shard.awaits_found_records and shard.found_records is None:
        yield find_of(shard)
    if comparison := wanted_comparison(shard, world):
        yield comparison


def find_of(shard: Shard) -> StartFind:
    """Return the run that finds the records which are to leave a shard."""
    return StartFind(shard.uid, shard.request)


def _find_records(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    """Have the names of records looked up before anything changes because of them."""
    request = () if shard.records_asked_at else (RequestRecordRemoval(shard.uid),)
    if shard.found_records:
        return request  # Refused: a person has to name others.
    start = find_of(shard)
    run = last_attempt(start, world)
    if run and isinstance(result := run.result, FindResult):
        records = FoundRecords(result.records, result.covered, result.unknown, result.unknown_count)
        return (*request, RecordFoundRecords(shard.uid, shard.request, records))
    return (*request, *start_once(start, world, now))


def _remove_records(shard: Shard, world: World, now: datetime) -> tuple[Action, ...]:
    """Record at once that records are to leave a shard; drop its ingredient when that is safe."""
    if shard.records_asked_at is None:
        return (RequestRecordRemoval(shard.uid),)
    if not may_drop_ingredient(shard, world, now):
        return ()
    names = tuple(sorted(shard.leaving_records))
    # A training without a key yet gets a name from the records that leave it.
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
    """Purge a target; after an Incomplete receipt, again until nothing is left."""
    start = purge_of(target)
    run = last_attempt(start, world)
    if run is None or run.result is None:
        return start_once(start, world, now)
    tries = attempt_of(run.name, start)
    due = purge_again_at(run.ended_at, tries)
    is_over = due is not None and is_due(due, now, LONGEST_LOOK_S)
    return (next_attempt(start, tries + 1),) if is_over else ()


def _end(runs: Iterable[Run]) -> tuple[EndRun, ...]:
    return tuple(EndRun(run.name) for run in runs)
