"""Checks of the learning ladder: each returns why its stage is not reached, or None."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from stockpot.api.conditions import Reason
from stockpot.core.attempts import counted_attempts, failed, last_attempt, startup_blocked
from stockpot.core.blocker import Blocker
from stockpot.core.digests import short
from stockpot.core.membership import additions_held
from stockpot.core.recipe import Recipe
from stockpot.core.retry import gives_up
from stockpot.core.run_starts import StartFind, StartMerge, StartTraining
from stockpot.core.servers import Server
from stockpot.core.shard import Shard, TrainingOutcome
from stockpot.core.stages import CheckInput
from stockpot.core.world import World
from stockpot.errors import ExitCode


def held(shard: Shard, inputs: CheckInput) -> Blocker | None:
    """The shard has our finalizer."""
    del inputs
    return None if shard.held else Blocker(Reason.NOT_TRAINED, f"{shard.name} has no finalizer yet")


def trained(shard: Shard, inputs: CheckInput) -> Blocker | None:
    """The shard has an ingredient that was trained from the soup's base."""
    soup = inputs.world.soup
    if receipt := inputs.world.forgotten_by(shard):
        return Blocker(
            Reason.FORGOTTEN,
            f"the data of DataShard {shard.name} was unlearned before: see UnlearningReceipt "
            f"{receipt.name}",
            f"to train on it again, set spec.relearn: {receipt.name}",
            needs_person=True,
        )
    if shard.readded_records:
        return records_readded(shard)
    if shard.awaits_found_records:
        return records_not_found(shard, inputs.world)
    if shard.usable_training:
        return base_drifted(shard.usable_training, shard, inputs.world)
    start = StartTraining(shard.uid, shard.request)
    if blocker := failed(
        start, inputs.world, Reason.TRAINING_FAILED, f"the training of {shard.name}"
    ):
        return blocker
    if soup.unknown:
        unknown = soup.unknown
        return Blocker(unknown.reason, unknown.message, unknown.help, needs_person=True)
    if last_attempt(start, inputs.world):
        return Blocker(Reason.TRAINING, f"{shard.name} is being trained")
    if soup.holds_additions and not shard.leaving_records:
        return additions_held(soup)
    active = inputs.world.active_trainings
    if active >= soup.parallelism and not shard.leaving_records:
        return Blocker(
            Reason.QUEUED,
            f"{shard.name} waits for a slot: Soup {soup.name} is training {active} shards, and "
            f"training.parallelism is {soup.parallelism}",
            "wait, or raise spec.training.parallelism",
        )
    return Blocker(Reason.NOT_TRAINED, f"{shard.name} has no ingredient yet")


def base_drifted(training: TrainingOutcome, shard: Shard, world: World) -> Blocker | None:
    """Return why a training is of no use to the soup: it was made from another base."""
    soup = world.soup
    if soup.base is None or training.base == soup.base:
        return None
    return Blocker(
        Reason.BASE_DRIFTED,
        f"{shard.name} was trained from another base than that of Soup {soup.name}",
        "delete the shard and apply it again",
        needs_person=True,
    )


def records_readded(shard: Shard) -> Blocker:
    """Return why a record that was excluded for good is not trained on again."""
    names = sorted(shard.readded_records)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return Blocker(
        Reason.FORGOTTEN,
        f"spec.excludeRecords of DataShard {shard.name} no longer names {', '.join(names[:3])}"
        f"{more}; records that were unlearned cannot be added back",
        "name them in spec.excludeRecords again; to train on them, create a new DataShard",
        needs_person=True,
    )


def records_not_found(shard: Shard, world: World) -> Blocker:
    """Return why the records that are named have not left the shard: it serves as before."""
    search = shard.found_records
    if search is None:
        start = StartFind(shard.uid, shard.request)
        what = f"the search for records of {shard.name}"
        if blocker := failed(start, world, Reason.FINDING_RECORDS, what):
            return blocker
        asked_at = shard.records_asked_at
        return Blocker(
            Reason.FINDING_RECORDS,
            f"spec.excludeRecords of DataShard {shard.name} is checked against the records that it "
            "was trained on",
            "wait",
            wake_at=asked_at + timedelta(seconds=world.soup.deadline_s) if asked_at else None,
        )
    if search.leaves_none:
        return Blocker(
            Reason.UNKNOWN_RECORDS,
            f"spec.excludeRecords covers all {search.records} records of DataShard {shard.name}: "
            "none was removed",
            f"to unlearn all of them, delete DataShard {shard.name}",
            needs_person=True,
        )
    more = search.unknown_count - len(search.unknown)
    listed = ", ".join(search.unknown) + (f" and {more} more" if more else "")
    return Blocker(
        Reason.UNKNOWN_RECORDS,
        f"DataShard {shard.name} was not trained on {listed}: spec.excludeRecords changes nothing "
        "until each name is that of a record",
        "name records by their path inside the data folder, or by the digest of their file",
        needs_person=True,
    )


def may_drop_ingredient(shard: Shard, world: World, now: datetime) -> bool:
    """Whether the ingredient of a shard that records leave may be dropped for good.

    At once where they were found in the list of what it was trained on. Without a list not before a
    training without these records has read the data and found them: until then a misspelt name
    costs nothing. A training that cannot be had does not delay it forever.
    """
    if shard.trained and shard.found_records and shard.found_records.records is not None:
        return True
    start = StartTraining(shard.uid, shard.request)
    run = last_attempt(start, world)
    if run and run.failure:
        tries = counted_attempts(run, world)
        ends = tries > 0 and gives_up(run.failure, tries, world.soup.max_attempts, is_owed=False)
        return ends and run.failure.exit_code != ExitCode.BAD_DATA
    if run and (run.result or (run.progress and run.progress.phase in PAST_READING)):
        return True
    asked_at = shard.records_asked_at
    is_late = asked_at and now >= asked_at + timedelta(seconds=world.soup.deadline_s)
    return bool(world.soup.unknown or (is_late and run and run.startup_blocker))


PAST_READING = frozenset({"encoding", "training", "publishing"})


def included(shard: Shard, inputs: CheckInput) -> Blocker | None:
    """The promoted recipe has the shard where the wanted one has it, and with that weight."""
    promoted = inputs.world.serving_recipe or Recipe()
    if shard.uid in inputs.admission.waiting:
        return inputs.admission.why
    if isinstance(inputs.recipe, Blocker):
        return inputs.recipe
    is_where_wanted = shard.is_in(inputs.recipe.lineage) == shard.is_in(promoted.lineage)
    if is_where_wanted and shard.uid not in inputs.reweighted:
        return None
    return not_merged(inputs.recipe, inputs.world)


def not_merged(recipe: Recipe, world: World) -> Blocker:
    """Return why the recipe is not promoted yet."""
    merge = StartMerge(recipe)
    if blocker := failed(merge, world, Reason.MERGE_FAILED, "the merge of the soup"):
        return blocker
    return Blocker(Reason.MERGING, f"soup {short(recipe.digest)} is being merged")


def served(shard: Shard, inputs: CheckInput) -> Blocker | None:
    """All servers answer with what was promoted last."""
    del shard
    return served_as_asked(inputs.world)


def served_as_asked(world: World) -> Blocker | None:
    """What was promoted last is served, and nothing else is.

    How many servers there are does not matter once one serves it: an autoscaler adds and removes
    them all the time.
    """
    if world.replicas and world.startup_blocker:
        return startup_blocked(world.startup_blocker, "a server")
    is_served = any(world.is_serving(server) for server in world.servers)
    late = [server for server in world.servers if not world.is_serving(server)]
    if is_served:
        late = [server for server in late if not _is_added(server, world)]
    if blocker := _not_rolled_out(late, world):
        return blocker
    if world.replicas and not is_served:
        message = f"{len(world.servers)} of {world.replicas} servers are running"
        return Blocker(Reason.SERVER_NOT_RUNNING, message, "wait")
    if not (world.is_rolled_out and world.is_as_declared):
        message = (
            "servers are being replaced, because the soup's spec or the chart's values changed"
        )
        return Blocker(Reason.ROLLING_OUT, message, "wait")
    return None


def _is_added(server: Server, world: World) -> bool:
    """Whether a server has only just started: it serves nothing, and did not before."""
    if server.problem or server.serving:
        return False
    return server.answers or not world.may_be_granted(server)


def rolled_out_everywhere(world: World) -> Blocker | None:
    """No server answers with anything other than what was promoted last."""
    return _not_rolled_out([s for s in world.servers if not world.is_serving(s)], world)


def _not_rolled_out(late: Sequence[Server], world: World) -> Blocker | None:
    if world.soup.current is None:
        return Blocker(Reason.NOT_MERGED, "no soup is promoted yet")
    if not late:
        return None
    names = ", ".join(server.name for server in late)
    if problem := next((server.problem for server in late if server.problem), ""):
        return Blocker(
            Reason.SERVER_FAILED, f"{names} cannot load the soup: {problem}", "see its log"
        )
    return Blocker(
        Reason.ROLLING_OUT,
        f"{names} do not serve the new soup yet",
        "wait, or see the server's log",
    )
