"""Conditions and counts for the status of objects, from the same assessment as the plan.

Only what can be derived is here. What has to be remembered, as the result of a training, is
recorded by the action that learnt it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stockpot.api.conditions import ConditionType, Reason
from stockpot.api.omissions import describe
from stockpot.api.states import ShardState, SoupState
from stockpot.core.attempts import failed, last_attempt
from stockpot.core.blocker import Blocker
from stockpot.core.checks import Assessment
from stockpot.core.digests import Digest
from stockpot.core.learning_checks import served_as_asked
from stockpot.core.membership import is_weightless
from stockpot.core.overlaps import describe as describe_overlaps
from stockpot.core.overlaps import describe_gaps, describe_similar, overlaps_of
from stockpot.core.recipe import Recipe, ShardUID
from stockpot.core.rescan import unrecorded_receipts
from stockpot.core.revision import Revision
from stockpot.core.run_starts import StartEvaluation, StartTraining
from stockpot.core.runs import Run, RunName, TrainingProgress
from stockpot.core.shard import Shard
from stockpot.core.soup_readiness import SoupReadiness, listed, soup_readiness
from stockpot.core.stages import PendingStage
from stockpot.core.states import shard_state, soup_state, target_state
from stockpot.core.unlearning_target import UnlearningTarget
from stockpot.core.world import World


@dataclass(frozen=True)
class ConditionUpdate:
    """A condition without its transition time."""

    type: ConditionType
    so: bool
    reason: Reason
    message: str = ""


@dataclass(frozen=True)
class ShardStatusReport:
    """Status of a shard or target, as far as it is derived."""

    shard: ShardUID
    conditions: tuple[ConditionUpdate, ...]
    state: ShardState
    stage: str = ""
    """The unlearning stage that is pending."""
    run: RunName | None = None
    """Name of the active training run."""
    progress: TrainingProgress | None = None
    """Progress of that run."""


@dataclass(frozen=True)
class SoupStatusReport:
    """Status of the soup, as far as it is derived."""

    conditions: tuple[ConditionUpdate, ...]
    state: SoupState
    total: int
    trained: int
    included: int
    failed: int
    deleting: int
    replicas: int
    ready_replicas: int
    served: tuple[tuple[Digest, int], ...]
    """Recipes that are served, each with the number of its servers."""


@dataclass(frozen=True)
class StatusReport:
    """Status of all objects of one soup."""

    soup: SoupStatusReport
    shards: tuple[ShardStatusReport, ...]


def report_of(assessment: Assessment) -> StatusReport:
    """Derive the status of the soup and of each shard and target."""
    world = assessment.inputs.world
    return StatusReport(
        _soup(assessment),
        (
            *(_shard(shard, assessment.pending[shard.uid], assessment) for shard in world.shards),
            *(_target(target, assessment.pending[target.uid]) for target in world.targets),
        ),
    )


def sentence(blocker: Blocker) -> str:
    """Return a blocker's message and help in one line."""
    return f"{blocker.message}; help: {blocker.help}" if blocker.help else blocker.message


def readiness(blocker: Blocker | None) -> Iterator[ConditionUpdate]:
    """Return the kstatus conditions, which `kubectl wait`, Flux and Argo CD understand."""
    if blocker is None:
        yield ConditionUpdate(ConditionType.READY, so=True, reason=Reason.SETTLED)
        return
    message = sentence(blocker)
    yield ConditionUpdate(ConditionType.READY, False, blocker.reason, message)
    kind = ConditionType.STALLED if blocker.needs_person else ConditionType.RECONCILING
    yield ConditionUpdate(kind, True, blocker.reason, message)


def _soup_readiness(readiness: SoupReadiness, reservation: str) -> Iterator[ConditionUpdate]:
    """Return the kstatus conditions of a soup, and which shards it holds back.

    Both Reconciling and Stalled are True where one shard is on its way and another waits for a
    person. Reconciling comes first: kstatus reports the first of the two.

    Args:
        readiness: What is missing.
        reservation: Message where all shards weigh 0: the soup is ready and serves the base.
    """
    if blocker := readiness.missing:
        message = sentence(blocker)
        yield ConditionUpdate(ConditionType.READY, False, blocker.reason, message)
    else:
        reason = Reason.WEIGHTLESS if reservation else Reason.SETTLED
        yield ConditionUpdate(ConditionType.READY, so=True, reason=reason, message=reservation)
    for kind, why in (
        (ConditionType.RECONCILING, readiness.in_progress),
        (ConditionType.STALLED, readiness.stuck),
        (ConditionType.MEMBERS_HELD, readiness.held),
    ):
        if why:
            yield ConditionUpdate(kind, True, why.reason, sentence(why))


def _shard(shard: Shard, pending: PendingStage | None, assessment: Assessment) -> ShardStatusReport:
    blocker = pending.blocker if pending else None
    conditions = (
        *readiness(blocker),
        _trained(shard, blocker),
        _included(shard, blocker, assessment),
        *_overlaps(shard, assessment.inputs.world),
    )
    # While records are to leave the shard, the status keeps what is known of its training.
    run = None if shard.trained else _training(shard, assessment)
    state = shard_state(shard, pending, assessment)
    if run is None:
        return ShardStatusReport(shard.uid, conditions, state)
    return ShardStatusReport(shard.uid, conditions, state, run=run.name, progress=run.progress)


def _target(target: UnlearningTarget, pending: PendingStage | None) -> ShardStatusReport:
    blocker = pending.blocker if pending else None
    why = blocker.reason if blocker else Reason.UNLEARNED
    message = sentence(blocker) if blocker else ""
    unlearned = ConditionUpdate(ConditionType.UNLEARNED, blocker is None, why, message)
    stage = pending.stage if pending else "Released"
    conditions = (*readiness(blocker), unlearned)
    return ShardStatusReport(target.uid, conditions, target_state(target, pending), stage)


def _training(shard: Shard, assessment: Assessment) -> Run | None:
    run = last_attempt(StartTraining(shard.uid, shard.request), assessment.inputs.world)
    return run if run and run.is_active else None


def _trained(shard: Shard, blocker: Blocker | None) -> ConditionUpdate:
    if shard.usable_training:
        # A pod's log goes with the pod: here people see what was not used as they gave it.
        omitted = describe(shard.usable_training.omissions)
        message = f"not used as given: {omitted}" if omitted else ""
        return ConditionUpdate(ConditionType.TRAINED, True, Reason.TRAINED, message)
    why = blocker.reason if blocker else Reason.NOT_TRAINED
    return ConditionUpdate(ConditionType.TRAINED, False, why, blocker.message if blocker else "")


def _included(shard: Shard, blocker: Blocker | None, assessment: Assessment) -> ConditionUpdate:
    promoted = assessment.inputs.world.serving_recipe or Recipe()
    if shard.is_in(promoted.lineage):
        return ConditionUpdate(ConditionType.INCLUDED, so=True, reason=Reason.INCLUDED)
    if not shard.included:
        return ConditionUpdate(ConditionType.INCLUDED, so=False, reason=Reason.EXCLUDED)
    if blocker is None:
        return ConditionUpdate(
            ConditionType.INCLUDED, False, Reason.WEIGHTLESS, "the weighting gives it the weight 0"
        )
    return ConditionUpdate(ConditionType.INCLUDED, False, blocker.reason, blocker.message)


def _overlaps(shard: Shard, world: World) -> Iterator[ConditionUpdate]:
    """Say which records the shard shares with others: they stay learnt where one is deleted."""
    overlaps = overlaps_of(shard.uid, world)
    similar = describe_similar(shard.uid, world)
    gaps = describe_gaps(shard.comparison) if shard.comparison else ""
    parts = (describe_overlaps(overlaps, world) if overlaps else "", similar, gaps)
    message = "; ".join(filter(None, parts))
    if overlaps:
        yield ConditionUpdate(ConditionType.OVERLAPS, True, Reason.OVERLAPS, message)
    elif similar:
        yield ConditionUpdate(ConditionType.OVERLAPS, False, Reason.LOOKS_ALIKE, message)
    elif gaps:
        yield ConditionUpdate(ConditionType.OVERLAPS, False, Reason.NOT_COMPARED, message)


def _soup(assessment: Assessment) -> SoupStatusReport:
    world = assessment.inputs.world
    promoted = world.serving_recipe or Recipe()
    leaving = [
        target
        for target in world.targets
        if target.is_being_deleted or assessment.pending[target.uid]
    ]
    pending = [assessment.pending[shard.uid] for shard in world.shards]
    readiness = soup_readiness(assessment)
    serving = [server.serving for server in world.servers if server.serving]
    return SoupStatusReport(
        conditions=(
            *_soup_readiness(readiness, _weightless(assessment)),
            *_aspects(assessment, leaving),
        ),
        state=soup_state(readiness, assessment, unlearns=bool(leaving)),
        total=len(world.shards),
        trained=sum(1 for shard in world.shards if shard.usable_training),
        included=sum(1 for shard in world.shards if shard.is_in(promoted.lineage))
        + sum(1 for target in world.targets if target.is_in(promoted.lineage)),
        failed=sum(1 for pending in pending if pending and pending.blocker.needs_person),
        deleting=len(leaving),
        replicas=len(world.servers),
        ready_replicas=sum(1 for server in world.servers if server.ready),
        served=tuple((recipe, serving.count(recipe)) for recipe in sorted(set(serving))),
    )


def _evaluated(revision: Revision, world: World) -> ConditionUpdate:
    if revision.recipe.digest in world.soup.evaluated:
        return ConditionUpdate(ConditionType.EVALUATED, so=True, reason=Reason.EVALUATED)
    if unusable := world.soup.unusable_evaluation:
        message = sentence(Blocker(unusable.reason, unusable.message, unusable.help))
        return ConditionUpdate(ConditionType.EVALUATED, False, unusable.reason, message)
    start = StartEvaluation(revision)
    blocker = failed(start, world, Reason.EVALUATION_FAILED, "the evaluation")
    if blocker is None:
        return ConditionUpdate(ConditionType.EVALUATED, so=False, reason=Reason.NOT_EVALUATED)
    # The soup is served all the same: figures block nothing.
    return ConditionUpdate(
        ConditionType.EVALUATED, False, Reason.EVALUATION_FAILED, sentence(blocker)
    )


def _weightless(assessment: Assessment) -> str:
    """Return why the base is served though there are shards: all weigh 0. Empty otherwise."""
    inputs = assessment.inputs
    members = inputs.admission.members
    if not is_weightless(inputs.survivors, members):
        return ""
    names = listed(shard.name for shard in members)
    return (
        f"the base is served: the weighting {inputs.world.soup.weighting_name} gives every shard "
        f"the weight 0 ({names}); help: give a shard a weight above 0, or set inclusion: "
        "Excluded if that is intended"
    )


def _aspects(assessment: Assessment, leaving: list[UnlearningTarget]) -> Iterator[ConditionUpdate]:
    world = assessment.inputs.world
    missing = [shard.name for shard in world.shards if shard.included and not shard.usable_training]
    yield ConditionUpdate(
        ConditionType.TRAINING_COMPLETE,
        not missing,
        Reason.NOT_TRAINED if missing else Reason.TRAINED,
        f"not trained yet: {', '.join(missing[:5])}" if missing else "",
    )
    blocker = assessment.soup if world.soup.is_being_deleted else served_as_asked(world)
    is_base = world.serving_recipe is not None and world.serving_recipe.is_base
    good = Reason.BASE_SERVED if is_base else Reason.SERVED
    weightless = _weightless(assessment)
    good = Reason.WEIGHTLESS if weightless else good
    message = sentence(blocker) if blocker else weightless or _servers_missing(world)
    yield ConditionUpdate(
        ConditionType.SERVING, blocker is None, blocker.reason if blocker else good, message
    )
    if world.soup.evaluates and world.soup.current:
        yield _evaluated(world.soup.current.revision, world)
    if unrecorded := unrecorded_receipts(world):
        listed = ", ".join(map(str, unrecorded))
        yield ConditionUpdate(
            ConditionType.RECEIPTS_MISSING,
            True,
            Reason.RECEIPTS_NOT_RECORDED,
            f"the store has receipts {listed} of Soup {world.soup.name}, and no UnlearningReceipt "
            "records them; help: stockpot replay --missing … | kubectl apply -f -",
        )
    yield from _overlapping(world)
    if leaving:
        names = ", ".join(target.name for target in leaving[:5])
        late = [target.name for target in leaving if target.uid in assessment.inputs.overdue]
        if late:
            message = f"forgetting {names}; past unlearning.deadlineSeconds: {', '.join(late[:5])}"
            yield ConditionUpdate(ConditionType.UNLEARNING, True, Reason.DEADLINE_PASSED, message)
        else:
            yield ConditionUpdate(
                ConditionType.UNLEARNING, True, Reason.UNLEARNING, f"forgetting {names}"
            )


def _servers_missing(world: World) -> str:
    """Return how many of the requested servers serve, where these are not all."""
    serving = sum(1 for server in world.servers if world.is_serving(server))
    return f"{serving} of {world.replicas} servers serve" if serving < world.replicas else ""


def _overlapping(world: World) -> Iterator[ConditionUpdate]:
    """Name the shards that share records: deleting one leaves them in the soup."""
    names = sorted(shard.name for shard in world.shards if overlaps_of(shard.uid, world))
    if names:
        yield ConditionUpdate(
            ConditionType.OVERLAPS,
            True,
            Reason.OVERLAPS,
            f"{listed(names)} share records: see their condition Overlaps",
        )
        return
    names = sorted(s.name for s in world.shards if s.comparison and describe_gaps(s.comparison))
    if names:
        yield ConditionUpdate(
            ConditionType.OVERLAPS,
            False,
            Reason.NOT_COMPARED,
            f"{listed(names)} could not be compared with all others: see their condition Overlaps",
        )
