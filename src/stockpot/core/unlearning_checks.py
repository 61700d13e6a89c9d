"""Is a shard forgotten, and if not, why not: the checks of the rungs of one that was deleted."""

from collections.abc import Sequence
from datetime import datetime

from stockpot.api.conditions import Reason
from stockpot.api.results import PurgeResult
from stockpot.core.actions import StartPurge, attempt_of, is_signing
from stockpot.core.attempts import failed, failed_run, last_attempt
from stockpot.core.blocker import Blocker
from stockpot.core.learning_checks import not_merged, rolled_out_everywhere
from stockpot.core.retry import looked_at_again
from stockpot.core.stages import CheckInput
from stockpot.core.world import Server, ServerGrant, Shard


def tombstoned(shard: Shard, scene: CheckInput) -> Blocker | None:
    """That it was deleted is written down, with the time."""
    del scene
    if shard.requested_at is None:
        return Blocker(Reason.NOT_TOMBSTONED, f"the deletion of {shard.name} is not recorded yet")
    return None


def excluded(shard: Shard, scene: CheckInput) -> Blocker | None:
    """The soup that is promoted was made without it."""
    if not scene.world.soup.alive:
        return nobody_serves(shard, scene)
    promoted = scene.world.serving_recipe
    if promoted is None or not shard.is_in(promoted.lineage):
        return None
    if isinstance(scene.recipe, Blocker):
        return scene.recipe
    waiting = not_merged(scene.recipe, scene.world)
    if waiting.needs_person:
        return waiting
    said = f"what is served was made with {shard.name}; {waiting.message}"
    return Blocker(Reason.STILL_IN_SOUP, said)


def nobody_serves(shard: Shard, scene: CheckInput) -> Blocker | None:
    """No server is left: of a soup that is going, nothing is made that could be served instead."""
    goes_on = scene.goes_on(shard)
    left = [server for server in scene.world.servers if server.answers or not goes_on]
    if not left:
        return None
    names = ", ".join(server.name for server in left)
    return Blocker(Reason.STILL_SERVED, f"{names} have not ended yet", "wait")


def rolled_out(shard: Shard, scene: CheckInput) -> Blocker | None:
    """Every server answers without it."""
    if not scene.world.soup.alive:
        return nobody_serves(shard, scene)
    if not scene.goes_on(shard):
        return rolled_out_everywhere(scene.world)
    if holders := [server.name for server in scene.world.servers if holds(server, shard)]:
        said = f"{', '.join(holders)} still hold {shard.name}"
        return Blocker(Reason.STILL_SERVED, said, "see their log; a pod that is deleted drops it")
    return None


def holds(server: Server, shard: Shard) -> bool:
    """Whether it says that it holds the shard: granted, fetched, prepared, serving, draining."""
    return server.answers and any(shard.is_in(hold.lineage) for hold in server.holds)


def quiesced(shard: Shard, scene: CheckInput) -> Blocker | None:
    """No run that may write it exists any more, not even as one that ended."""
    if scene.goes_on(shard):
        return None
    if writers := [run.name for run in scene.world.runs_with(shard)]:
        return Blocker(
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


def purged(shard: Shard, scene: CheckInput) -> Blocker | None:
    """The store has its tombstone, and had all of its lineage removed after that."""
    start = purge_of(shard)
    if unmet := failed(start, scene.world, Reason.NOT_PURGED, f"the purge of {shard.name}"):
        return unmet
    run = last_attempt(start, scene.world)
    if run is None and shard.uid in scene.world.receipted and not shard.leaving:
        return None  # It expired and is forgotten; only its object stays.
    if run is None or run.result is None:
        return Blocker(Reason.NOT_PURGED, f"{shard.name} is still in the store", "wait")
    if shard.incomplete and isinstance(run.result, PurgeResult) and run.result.residual_count:
        due = looked_at_again(run.ended_at, attempt_of(run.name, start))
        return left_over(shard, run.result, due)
    return None


def left_over(shard: Shard, purge: PurgeResult, due: datetime | None) -> Blocker:
    """What lies under no manifest may be the shard's: a person must say what becomes of it.

    What a lock of the bucket keeps is the shard's, and is purged when the lock ends.
    """
    named, locked = ", ".join(purge.residuals), purge.locked_count
    strays = purge.residual_count - locked
    left, helps = [], []
    if strays:
        left.append(f"{strays} objects of unknown lineage")
        helps.append("remove what is of unknown lineage, or move it out of shards/ and soups/")
    if locked:
        left.append(f"{locked} objects that a lock of the bucket keeps")
        helps.append("what is locked is purged when its lock ends")
    again = f"; it is looked at again at {due:%H:%M:%S} UTC" if due else ""
    return Blocker(
        Reason.RESIDUALS_LEFT,
        f"receipt {shard.last_receipt} of {shard.name} is Incomplete: {' and '.join(left)} are in "
        f"the store{f', as {named}' if named else ''}{again}",
        "; ".join(helps),
        needs_person=True,
        wake_at=due,
    )


def verified(shard: Shard, scene: CheckInput) -> Blocker | None:
    """No server holds it in any way: granted, fetched, prepared, serving or draining.

    Asked is every one that was ever granted anything, unless its end is confirmed.
    """
    world = scene.world
    holders = [server.name for server in world.servers if holds(server, shard)]
    silent = [server.name for server in world.servers if not server.answers]
    if scene.goes_on(shard):
        silent = []
    if holders or silent:
        said = f"{', '.join((*holders, *silent))} may hold {shard.name}"
        gone = f"; where a node is gone: {OUT_OF_SERVICE}" if silent else ""
        return Blocker(Reason.STILL_HELD, said, f"wait for unlearning.drainSeconds{gone}")
    if world.vanished and not scene.goes_on(shard):
        return Blocker(
            Reason.UNREACHABLE_NODE,
            f"{_named(world.vanished)} may hold {shard.name}: granted it may be, and no kubelet "
            "has confirmed the end",
            f"where the node is gone: {OUT_OF_SERVICE}; a pod that is deleted by force is never "
            "confirmed",
            needs_person=True,
        )
    return None


def _named(granted: Sequence[ServerGrant]) -> str:
    return ", ".join(
        f"{one.name} ({one.uid}{f' on {one.node}' if one.node else ''})" for one in granted[:5]
    )


MOST_MISSING = 16


def missing(shard: Shard, scene: CheckInput) -> tuple[str, ...]:
    """What a receipt that is signed now has to say that nobody could confirm."""
    world = scene.world
    said = [
        *(f"UnreachableNode: {_named((one,))} may still run" for one in world.vanished),
        *(
            f"UnreachableNode: {server.name} does not answer"
            for server in world.servers
            if server.is_silent
        ),
        *(f"StillWritten: {one.name} has not ended" for one in world.runs_with(shard)),
    ]
    if shard.is_forced and not shard.incomplete:
        said = ["ForceDeleted: the object went before it was unlearned, as was asked", *said]
    return tuple(one[:256] for one in said[:MOST_MISSING])


def receipted(shard: Shard, scene: CheckInput) -> Blocker | None:
    """Its own receipt is signed, stored and recorded, and says that nothing is missing."""
    if shard.uid in scene.world.receipted:
        return None
    if scene.out_of_step:
        return scene.out_of_step
    runs = [run for run in scene.world.runs if is_signing(run) and shard.uid in run.about]
    # Whatever runs now says more than what failed before it.
    for run in sorted(runs, key=lambda run: run.is_active, reverse=True):
        what = f"the receipt of {shard.name}"
        if unmet := failed_run(run, scene.world, Reason.NOT_SIGNED, what, is_owed=True):
            return unmet
    return Blocker(Reason.NOT_SIGNED, f"the receipt of {shard.name} is not signed yet", "wait")
