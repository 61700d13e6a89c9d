"""Is it so, and if not, why not. Each check looks at the world afresh; none remembers.

A shard climbs a ladder: towards being served while it lives, towards being forgotten once it
is deleted. Its stage is the first check that the world does not show, looked for again from
the first at every round. So a late writer, a server that comes back or a crash needs no case
of its own: the shard is simply found on the rung that broke.

    alive     HELD → TRAINED → INCLUDED → SERVED
    deleted   TOMBSTONED → EXCLUDED → ROLLED_OUT → QUIESCED → PURGED → VERIFIED → RECEIPTED
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from stockpot.api.conditions import Reason
from stockpot.core.actions import (
    Start,
    StartMerge,
    StartPurge,
    StartSigning,
    StartTraining,
    attempt_of,
    is_attempt_at,
)
from stockpot.core.digests import short
from stockpot.core.finding import Unmet
from stockpot.core.membership import Membership
from stockpot.core.recipe import Recipe, ShardUID
from stockpot.core.retry import due_at, gives_up, looked_at_again
from stockpot.core.world import GrantedServer, Hindrance, Run, Server, Shard, World
from stockpot.errors import ExitCode


class Stage(StrEnum):
    """A rung of a shard's ladder."""

    HELD = "Held"
    TRAINED = "Trained"
    INCLUDED = "Included"
    SERVED = "Served"
    TOMBSTONED = "Tombstoned"
    EXCLUDED = "Excluded"
    ROLLED_OUT = "RolledOut"
    QUIESCED = "Quiesced"
    PURGED = "Purged"
    VERIFIED = "Verified"
    RECEIPTED = "Receipted"


@dataclass(frozen=True)
class Rung:
    """The next stage of a shard, and what it still lacks."""

    stage: Stage
    unmet: Unmet


@dataclass(frozen=True)
class Scene:
    """What a check may look at: the world, and what was decided about the soup as a whole."""

    world: World
    membership: Membership
    recipe: Recipe | Unmet
    survivors: Recipe | Unmet = field(default_factory=Recipe)
    """What is to be served in the end: another recipe only while a deadline has passed."""
    out_of_step: Unmet | None = None
    """Why nobody can say what may be served: store and objects know different receipts."""
    overdue: frozenset[ShardUID] = frozenset()
    """Shards whose unlearning takes longer than it may."""

    def goes_on(self, shard: Shard) -> bool:
        """Whether it no longer waits for what does not answer, and a receipt is to say so.

        Once: after an Incomplete receipt it waits for as long as it takes.
        """
        return (shard.uid in self.overdue or shard.is_forced) and not shard.incomplete


Check = Callable[[Shard, Scene], Unmet | None]


def last_attempt(start: Start, world: World) -> Run | None:
    """The newest run of that stem, however it went."""
    runs = attempts_at(start, world)
    return runs[-1] if runs else None


def attempts_at(start: Start, world: World) -> tuple[Run, ...]:
    """All runs of that, the oldest first."""
    known = world.attempts.get(start.stem, ())
    return tuple(run for _, run in known if is_attempt_at(run, start))


def failed(start: Start, world: World, reason: Reason, what: str) -> Unmet | None:
    """Say how it failed and when it is tried again, if ever; or what keeps it from going on."""
    run = last_attempt(start, world)
    if run and run.is_active and run.hindrance:
        return hindered(run.hindrance, what)
    if run is None or run.failure is None:
        return None
    failure, tries = run.failure, attempt_of(run.name, start)
    times = "" if failure.is_final or tries == 1 else f" {tries} times"
    ends = gives_up(start, failure, tries, world.soup.max_attempts)
    due = None if ends else due_at(failure, tries)
    if not ends and due is None:
        return None
    again = f"; it is tried again at {due:%H:%M:%S} UTC" if due else ""
    return Unmet(
        REASONS.get(failure.exit_code or 0, reason),
        f"{what} failed{times}: {failure.message}{again}",
        failure.help or f"see the log of {run.name}",
        needs_person=ends or failure.is_final,
        wake_at=due,
    )


def hindered(hindrance: Hindrance, what: str) -> Unmet:
    """Say what keeps something from going on, though it has not failed."""
    said = f"{what} waits: {hindrance.message}"
    return Unmet(hindrance.reason, said, hindrance.help, needs_person=True)


REASONS: Mapping[int, Reason] = {
    ExitCode.STORAGE: Reason.STORAGE_UNAVAILABLE,
    ExitCode.BAD_DATA: Reason.BAD_DATA,
    ExitCode.WRONG_DIGEST: Reason.WRONG_DIGEST,
    ExitCode.DIVERGED: Reason.DIVERGED,
    ExitCode.BAD_BASE: Reason.BAD_BASE,
    ExitCode.NO_SIGNING_KEY: Reason.NO_SIGNING_KEY,
    ExitCode.FORGOTTEN: Reason.FORGOTTEN,
    ExitCode.BAD_RUN_SPEC: Reason.BAD_RUN_SPEC,
    ExitCode.BAD_WEIGHTS: Reason.BAD_WEIGHTS,
}


def held(shard: Shard, scene: Scene) -> Unmet | None:
    """Our finalizer is on it."""
    del scene
    return None if shard.held else Unmet(Reason.NOT_TRAINED, f"{shard.name} has no finalizer yet")


def trained(shard: Shard, scene: Scene) -> Unmet | None:
    """It has an ingredient, made from the soup's base."""
    soup = scene.world.soup
    if receipt := scene.world.forgotten_by(shard):
        return Unmet(
            Reason.FORGOTTEN,
            f"the data of {shard.name} was unlearned: {receipt.name} is its receipt",
            f"to learn it again, set spec.relearn: {receipt.name}",
            needs_person=True,
        )
    if shard.put_back:
        return put_back(shard)
    if shard.usable:
        if soup.base and shard.usable.base != soup.base:
            said = f"{shard.name} was trained from another base than soup {soup.name}'s"
            return Unmet(
                Reason.BASE_DRIFTED, said, "delete the shard and apply it again", needs_person=True
            )
        return None
    start = StartTraining(shard.uid, shard.request)
    if unmet := failed(start, scene.world, Reason.TRAINING_FAILED, f"the training of {shard.name}"):
        return unmet
    if soup.unknown:
        unknown = soup.unknown
        return Unmet(Reason.UNKNOWN_METHOD, unknown.message, unknown.help, needs_person=True)
    if last_attempt(start, scene.world):
        return Unmet(Reason.TRAINING, f"{shard.name} is being trained")
    if soup.suspended and not shard.leaving_records:
        said = f"Soup {soup.name} is suspended"
        return Unmet(Reason.HELD_BY_SUSPEND, said, "set spec.suspend: false")
    return Unmet(Reason.NOT_TRAINED, f"{shard.name} has no ingredient yet")


def put_back(shard: Shard) -> Unmet:
    """Why a record that was left out is not learnt again, though nothing leaves it out now."""
    names = sorted(shard.put_back)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return Unmet(
        Reason.FORGOTTEN,
        f"{shard.name} was told to leave out {', '.join(names[:3])}{more}, for good",
        "put them back into spec.excludeRecords; to learn them again, make a new DataShard",
        needs_person=True,
    )


def may_disown(shard: Shard, world: World, now: datetime) -> bool:
    """Whether the ingredient of a shard that records leave may be taken from it for good.

    Not before a training without them has read the data, and so knows that they are there: until
    then whoever misspelt a name loses nothing by it. But a training that cannot be had does not
    hold it up for good.
    """
    start = StartTraining(shard.uid, shard.request)
    run = last_attempt(start, world)
    if run and run.failure:
        tries = attempt_of(run.name, start)
        ends = gives_up(start, run.failure, tries, world.soup.max_attempts)
        return ends and run.failure.exit_code != ExitCode.BAD_DATA
    if run and (run.result or (run.advance and run.advance.phase in PAST_READING)):
        return True
    asked_at = shard.records_asked_at
    is_late = asked_at and now >= asked_at + timedelta(seconds=world.soup.deadline_s)
    return bool(world.soup.unknown or (is_late and run and run.hindrance))


PAST_READING = frozenset({"encoding", "training", "publishing"})


def included(shard: Shard, scene: Scene) -> Unmet | None:
    """It is in the soup as it should be, or out of it as it should be."""
    promoted = scene.world.serving_recipe or Recipe()
    if shard.uid in scene.membership.waiting:
        return scene.membership.why
    if isinstance(scene.recipe, Unmet):
        return scene.recipe
    if shard.is_in(scene.recipe.lineage) == shard.is_in(promoted.lineage):
        return None
    return not_merged(scene.recipe, scene.world)


def not_merged(recipe: Recipe, world: World) -> Unmet:
    """Why the recipe is not promoted yet."""
    merge = StartMerge(recipe)
    if unmet := failed(merge, world, Reason.MERGE_FAILED, "the merge of the soup"):
        return unmet
    return Unmet(Reason.MERGING, f"soup {short(recipe.digest)} is being merged")


def served(shard: Shard, scene: Scene) -> Unmet | None:
    """As many servers as were asked for answer with what was promoted last."""
    del shard
    return served_as_asked(scene.world)


def served_as_asked(world: World) -> Unmet | None:
    """As many servers as were asked for answer with what was promoted last."""
    if world.replicas and world.hindrance:
        return hindered(world.hindrance, "a server")
    if unmet := rolled_out_everywhere(world):
        return unmet
    if len(world.servers) < world.replicas:
        said = f"{len(world.servers)} of {world.replicas} servers are running"
        return Unmet(Reason.SERVER_NOT_RUNNING, said, "wait")
    return None


def rolled_out_everywhere(world: World) -> Unmet | None:
    """No server answers with anything but what was promoted last."""
    if world.soup.current is None:
        return Unmet(Reason.NOT_MERGED, "nothing was promoted yet")
    late = [server for server in world.servers if not world.is_serving(server)]
    if not late:
        return None
    names = ", ".join(server.name for server in late)
    if problem := next((server.problem for server in late if server.problem), ""):
        return Unmet(Reason.ROLLING_OUT, f"{names} cannot load it: {problem}", "see its log")
    return Unmet(Reason.ROLLING_OUT, f"not served yet by {names}", "wait, or see its log")


def tombstoned(shard: Shard, scene: Scene) -> Unmet | None:
    """That it was deleted is written down, with the time."""
    del scene
    if shard.requested_at is None:
        return Unmet(Reason.NOT_TOMBSTONED, f"the deletion of {shard.name} is not recorded yet")
    return None


def excluded(shard: Shard, scene: Scene) -> Unmet | None:
    """The soup that is promoted was made without it."""
    if not scene.world.soup.alive:
        return nobody_serves(shard, scene)
    promoted = scene.world.serving_recipe
    if promoted is None or not shard.is_in(promoted.lineage):
        return None
    if isinstance(scene.recipe, Unmet):
        return scene.recipe
    waiting = not_merged(scene.recipe, scene.world)
    if waiting.needs_person:
        return waiting
    said = f"what is served was made with {shard.name}; {waiting.message}"
    return Unmet(Reason.STILL_IN_SOUP, said)


def nobody_serves(shard: Shard, scene: Scene) -> Unmet | None:
    """No server is left: of a soup that is going, nothing is made that could be served instead."""
    goes_on = scene.goes_on(shard)
    left = [one for one in scene.world.servers if one.answers or not goes_on]
    if not left:
        return None
    names = ", ".join(server.name for server in left)
    return Unmet(Reason.STILL_SERVED, f"{names} have not ended yet", "wait")


def rolled_out(shard: Shard, scene: Scene) -> Unmet | None:
    """Every server answers without it."""
    if not scene.world.soup.alive:
        return nobody_serves(shard, scene)
    if not scene.goes_on(shard):
        return rolled_out_everywhere(scene.world)
    if holders := [one.name for one in scene.world.servers if holds(one, shard)]:
        said = f"{', '.join(holders)} still hold {shard.name}"
        return Unmet(Reason.STILL_SERVED, said, "see their log; a pod that is deleted drops it")
    return None


def holds(server: Server, shard: Shard) -> bool:
    """Whether it says that it holds the shard: granted, fetched, prepared, serving, draining."""
    return server.answers and any(shard.is_in(one.lineage) for one in server.holds)


def quiesced(shard: Shard, scene: Scene) -> Unmet | None:
    """No run that may write it exists any more, not even as one that ended."""
    if scene.goes_on(shard):
        return None
    if writers := [run.name for run in scene.world.runs_with(shard)]:
        return Unmet(
            Reason.STILL_WRITTEN,
            f"{', '.join(writers)} may write {shard.name}",
            f"wait; where their node is gone: {OUT_OF_SERVICE}",
        )
    return None


OUT_OF_SERVICE = (
    "bring it back, or shut it down and say so: "
    "kubectl taint node NODE node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
)


def purge_of(shard: Shard) -> StartPurge:
    """The purge that counts: one before an Incomplete receipt has proved too little."""
    return StartPurge(shard.uid, after=shard.incomplete)


def signing_of(shard: Shard) -> StartSigning:
    """The signing that counts."""
    return StartSigning(shard.uid, after=shard.incomplete)


def residuals(run: Run) -> int:
    """How many objects a purge or signing left in the store: of unknown lineage, or locked."""
    return int(run.result.figures.get("residuals", "0")) if run.result else 0


def purged(shard: Shard, scene: Scene) -> Unmet | None:
    """The store has its tombstone, and had all of its lineage removed after that."""
    start = purge_of(shard)
    if unmet := failed(start, scene.world, Reason.NOT_PURGED, f"the purge of {shard.name}"):
        return unmet
    run = last_attempt(start, scene.world)
    if run is None and shard.uid in scene.world.receipted and not shard.leaving:
        return None  # It expired and is forgotten; only its object stays.
    if run is None or run.result is None:
        return Unmet(Reason.NOT_PURGED, f"{shard.name} is still in the store", "wait")
    if shard.incomplete and residuals(run):
        return left_over(shard, run, attempt_of(run.name, start))
    return None


def left_over(shard: Shard, run: Run, tries: int) -> Unmet:
    """What lies under no manifest may be the shard's: a person must say what becomes of it.

    What a lock of the bucket keeps is the shard's, and is purged when the lock ends.
    """
    named = ", ".join(run.result.residuals) if run.result else ""
    locked = int(run.result.figures.get("locked", "0")) if run.result else 0
    strays = residuals(run) - locked
    left, helps = [], []
    if strays:
        left.append(f"{strays} objects of unknown lineage")
        helps.append("remove what is of unknown lineage, or move it out of shards/ and soups/")
    if locked:
        left.append(f"{locked} objects that a lock of the bucket keeps")
        helps.append("what is locked is purged when its lock ends")
    due = looked_at_again(run.ended_at, tries)
    again = f"; it is looked at again at {due:%H:%M:%S} UTC" if due else ""
    return Unmet(
        Reason.RESIDUALS_LEFT,
        f"receipt {shard.last_receipt} of {shard.name} is Incomplete: {' and '.join(left)} are in "
        f"the store{f', as {named}' if named else ''}{again}",
        "; ".join(helps),
        needs_person=True,
        wake_at=due,
    )


def verified(shard: Shard, scene: Scene) -> Unmet | None:
    """No server holds it in any way: granted, fetched, prepared, serving or draining.

    Asked is every one that was ever granted anything, unless its end is confirmed.
    """
    world = scene.world
    holders = [one.name for one in world.servers if holds(one, shard)]
    silent = [one.name for one in world.servers if not one.answers]
    if scene.goes_on(shard):
        silent = []
    if holders or silent:
        said = f"{', '.join((*holders, *silent))} may hold {shard.name}"
        gone = f"; where a node is gone: {OUT_OF_SERVICE}" if silent else ""
        return Unmet(Reason.STILL_HELD, said, f"wait for unlearning.drainSeconds{gone}")
    if world.vanished and not scene.goes_on(shard):
        return Unmet(
            Reason.UNREACHABLE_NODE,
            f"{_named(world.vanished)} may hold {shard.name}: granted it may be, and no kubelet "
            "has confirmed the end",
            f"where the node is gone: {OUT_OF_SERVICE}; a pod that is deleted by force is never "
            "confirmed",
            needs_person=True,
        )
    return None


def _named(granted: Sequence[GrantedServer]) -> str:
    return ", ".join(
        f"{one.name} ({one.uid}{f' on {one.node}' if one.node else ''})" for one in granted[:5]
    )


MOST_MISSING = 16


def missing(shard: Shard, scene: Scene) -> tuple[str, ...]:
    """What a receipt that is signed now has to say that nobody could confirm."""
    world = scene.world
    said = [
        *(f"UnreachableNode: {_named((one,))} may still run" for one in world.vanished),
        *(f"UnreachableNode: {one.name} does not answer" for one in world.servers if one.is_silent),
        *(f"StillWritten: {one.name} has not ended" for one in world.runs_with(shard)),
    ]
    if shard.is_forced and not shard.incomplete:
        said = ["ForceDeleted: the object went before it was unlearned, as was asked", *said]
    return tuple(one[:256] for one in said[:MOST_MISSING])


def receipted(shard: Shard, scene: Scene) -> Unmet | None:
    """Its receipt is signed, in the store and recorded, and says that nothing is missing."""
    if shard.uid in scene.world.receipted:
        return None
    if scene.out_of_step:
        return scene.out_of_step
    start, soup = signing_of(shard), scene.world.soup
    run = last_attempt(start, scene.world)
    said = run.result.receipt_sequence if run and run.result else None
    if said and run and is_complete(run) and not soup.alive and soup.receipts >= said:
        return None  # Nothing can be created in a namespace that is going: the store has it.
    if unmet := failed(start, scene.world, Reason.NOT_SIGNED, f"the receipt of {shard.name}"):
        return unmet
    return Unmet(Reason.NOT_SIGNED, f"the receipt of {shard.name} is not signed yet", "wait")


def is_complete(run: Run) -> bool:
    """Whether the receipt that was signed says that nothing is missing."""
    return run.result is not None and not any(
        int(run.result.figures.get(one, "0")) for one in ("residuals", "missing")
    )


LEARNING: Mapping[Stage, Check] = {
    Stage.HELD: held,
    Stage.TRAINED: trained,
    Stage.INCLUDED: included,
    Stage.SERVED: served,
}

UNLEARNING: Mapping[Stage, Check] = {
    Stage.TOMBSTONED: tombstoned,
    Stage.EXCLUDED: excluded,
    Stage.ROLLED_OUT: rolled_out,
    Stage.QUIESCED: quiesced,
    Stage.PURGED: purged,
    Stage.VERIFIED: verified,
    Stage.RECEIPTED: receipted,
}


def next_rung(shard: Shard, scene: Scene) -> Rung | None:
    """Find the first stage that the world does not show yet. None: the shard is at the top."""
    for stage, check in (LEARNING if shard.alive else UNLEARNING).items():
        if unmet := check(shard, scene):
            return Rung(stage, unmet)
    return None


@dataclass(frozen=True)
class Findings:
    """What was found out about a soup and its shards."""

    scene: Scene
    rungs: Mapping[ShardUID, Rung | None]
    soup: Unmet | None
    """What the soup as a whole lacks: made, promoted, served."""
    due_at: datetime | None = None
    """When time alone changes something: a shard expires, or a deadline passes."""

    @property
    def wake_at(self) -> datetime | None:
        """When to look again though nothing else happens."""
        unmet = (self.soup, *(rung.unmet for rung in self.rungs.values() if rung))
        times = (self.scene.membership.wake_at, *(one.wake_at for one in unmet if one))
        return min((time for time in times if time), default=None)
