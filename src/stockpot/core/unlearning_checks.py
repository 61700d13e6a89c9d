"""Checks of the unlearning ladder: each returns why its stage is not reached, or None."""

from collections.abc import Sequence
from datetime import datetime

from stockpot.api.conditions import Reason
from stockpot.api.results import PurgeResult
from stockpot.core.attempts import failed, failed_run, last_attempt
from stockpot.core.blocker import Blocker
from stockpot.core.learning_checks import not_merged, rolled_out_everywhere
from stockpot.core.retry import purge_again_at
from stockpot.core.run_starts import StartPurge, attempt_of, is_signing
from stockpot.core.servers import Server, ServerGrant
from stockpot.core.stages import CheckInput
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World


def unlearned_but_there(target: UnlearningTarget, world: World) -> bool:
    """Whether the target expired and its receipt is Complete: only its object stays."""
    return target.uid in world.receipted and not target.is_being_deleted


def is_unlearned(target: UnlearningTarget, world: World) -> bool:
    """Whether an expired target is unlearned, and nothing of it came back.

    Its object stays, so it is observed for ever; later promotions are no stages of its unlearning.
    """
    if not isinstance(target.owner, ShardObject) or not unlearned_but_there(target, world):
        return False
    promoted = world.serving_recipe
    is_served = promoted is not None and target.is_in(promoted.lineage)
    is_held = any(holds(server, target) for server in world.servers)
    return not (is_served or is_held or world.runs_with(target))


def tombstoned(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """The deletion is recorded, with its time."""
    del inputs
    if target.requested_at is None:
        return Blocker(Reason.NOT_TOMBSTONED, f"the deletion of {target.name} is not recorded yet")
    return None


def excluded(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """The promoted soup was merged without the target."""
    if not inputs.world.soup.alive:
        return servers_have_ended(target, inputs)
    promoted = inputs.world.serving_recipe
    if promoted is None or not target.is_in(promoted.lineage):
        return None
    if isinstance(inputs.recipe, Blocker):
        return inputs.recipe
    waiting = not_merged(inputs.recipe, inputs.world)
    if waiting.needs_person:
        return waiting
    message = f"the soup that is served was made with {target.name}; {waiting.message}"
    return Blocker(Reason.STILL_IN_SOUP, message)


def servers_have_ended(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """Every server has ended: of a soup that is being deleted, nothing else could be served."""
    stops_waiting = inputs.stops_waiting(target)
    left = [server for server in inputs.world.servers if server.answers or not stops_waiting]
    if not left:
        return None
    names = ", ".join(server.name for server in left)
    return Blocker(Reason.STILL_SERVED, f"{names} have not ended yet", "wait")


def rolled_out(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """Every server answers without the target."""
    world, waits = inputs.world, not inputs.stops_waiting(target)
    if not world.soup.alive:
        return servers_have_ended(target, inputs)
    if waits and world.soup.current is not None:
        return rolled_out_everywhere(world)
    if holders := [server.name for server in world.servers if holds(server, target)]:
        message = f"{', '.join(holders)} still hold {target.name}"
        return Blocker(Reason.STILL_SERVED, message, "see their logs, or delete the pods")
    # Nothing is promoted, as where every merge is refused: no deletion waits for a first one. But
    # the status may have been restored from a backup, and a server may hold what is not in it.
    if silent := [server.name for server in world.servers if waits and not server.answers]:
        message = f"{', '.join(silent)} do not answer, and may hold {target.name}"
        return Blocker(Reason.STILL_SERVED, message, "wait, or see their logs")
    return None


def holds(server: Server, target: UnlearningTarget) -> bool:
    """Whether a server reports the target: granted, fetched, prepared, served or draining."""
    return server.answers and any(target.is_in(hold.lineage) for hold in server.holds)


def quiesced(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """No run that may write the target exists any more, not even an ended one."""
    if inputs.stops_waiting(target):
        return None
    if writers := [run.name for run in inputs.world.runs_with(target)]:
        return Blocker(
            Reason.STILL_WRITTEN,
            f"{', '.join(writers)} may write {target.name}",
            f"wait; if their node is gone, {OUT_OF_SERVICE}",
        )
    return None


OUT_OF_SERVICE = (
    "bring it back, or shut it down and mark it: "
    "kubectl taint node NODE node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
)


def purge_of(target: UnlearningTarget) -> StartPurge:
    """Return the purge that counts: after an Incomplete receipt, another than before it."""
    return StartPurge(target.uid, after=target.incomplete)


def purged(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """The store has the tombstone, and a purge after it removed all of the lineage."""
    start = purge_of(target)
    if blocker := failed(start, inputs.world, Reason.PURGE_FAILED, f"the purge of {target.name}"):
        return blocker
    run = last_attempt(start, inputs.world)
    if run is None and unlearned_but_there(target, inputs.world):
        return None
    if run is None or run.result is None:
        return Blocker(Reason.NOT_PURGED, f"{target.name} is still in the store", "wait")
    if target.incomplete and isinstance(run.result, PurgeResult) and run.result.residual_count:
        due = purge_again_at(run.ended_at, attempt_of(run.name, start))
        return residuals_left(target, run.result, due)
    return None


def residuals_left(target: UnlearningTarget, purge: PurgeResult, due: datetime | None) -> Blocker:
    """Return which objects a purge left, and what to do about them.

    An object under no manifest may be the target's, so a person must decide. An object that a
    bucket lock keeps is the target's, and is purged when the lock ends.
    """
    locked = purge.locked_count
    more = ", …" if purge.residual_count > len(purge.residuals) else ""
    named = ", ".join(purge.residuals) + more
    strays = purge.residual_count - locked
    left, helps = [], []
    if strays:
        left.append(f"{strays} objects of unknown lineage")
        # Keys of the store begin with the namespace; a long one is named by its end.
        namespace = next((key.partition("/")[0] for key in purge.residuals), "")
        where = namespace if namespace and not namespace.startswith("…") else "NAMESPACE"
        helps.append(
            "no manifest says what they were made from: look at them, and remove them with the "
            f"unlearn identity: stockpot strays -n {where} --store STORE --remove"
        )
    if locked:
        left.append(f"{locked} objects that a bucket lock keeps")
        helps.append("locked objects are purged when their lock ends")
    again = f"; the next purge is at {due:%H:%M:%S} UTC" if due else ""
    return Blocker(
        Reason.RESIDUALS_LEFT,
        f"receipt {target.last_receipt} of {target.name} is Incomplete: {' and '.join(left)} are "
        f"in the store{f', as {named}' if named else ''}{again}",
        "; ".join(helps),
        needs_person=True,
        wake_at=due,
    )


def verified(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """No server holds the target in any way: granted, fetched, prepared, served or draining.

    Every server that was ever granted anything has to answer, unless its end is confirmed.
    """
    world = inputs.world
    holders = [server.name for server in world.servers if holds(server, target)]
    silent = [server.name for server in world.servers if not server.answers]
    if inputs.stops_waiting(target):
        silent = []
    if holders or silent:
        message = f"{', '.join((*holders, *silent))} may hold {target.name}"
        gone = f"; if a node is gone, {OUT_OF_SERVICE}" if silent else ""
        return Blocker(Reason.STILL_HELD, message, f"wait for unlearning.drainSeconds{gone}")
    if world.vanished and not inputs.stops_waiting(target):
        return Blocker(
            Reason.UNREACHABLE_NODE,
            f"{_listed(world.vanished)} may hold {target.name}: it had a grant, and no kubelet has "
            "confirmed its end",
            f"if the node is gone, {OUT_OF_SERVICE}; the end of a pod that is deleted by force is "
            "never confirmed",
            needs_person=True,
        )
    return None


def _listed(granted: Sequence[ServerGrant]) -> str:
    return ", ".join(
        f"{grant.name} ({grant.uid}{f' on {grant.node}' if grant.node else ''})"
        for grant in granted[:5]
    )


MOST_MISSING = 16


def missing(target: UnlearningTarget, inputs: CheckInput) -> tuple[str, ...]:
    """Return what a receipt that is signed now has to list as not confirmed."""
    world = inputs.world
    lines = [
        *(f"UnreachableNode: {_listed((grant,))} may still run" for grant in world.vanished),
        *(
            f"UnreachableNode: {server.name} does not answer"
            for server in world.servers
            if server.is_silent
        ),
        *(f"StillWritten: {run.name} has not ended" for run in world.runs_with(target)),
    ]
    if target.is_forced and not target.incomplete:
        lines = ["ForceDeleted: the object went before it was unlearned, as was asked", *lines]
    return tuple(line[:256] for line in lines[:MOST_MISSING])


def receipted(target: UnlearningTarget, inputs: CheckInput) -> Blocker | None:
    """The target's own receipt is signed, stored and recorded, and is Complete."""
    if target.uid in inputs.world.receipted:
        return None
    if inputs.receipt_chain_diverged:
        return inputs.receipt_chain_diverged
    runs = [run for run in inputs.world.runs if is_signing(run) and target.uid in run.about]
    # An active run says more than one that failed before it.
    for run in sorted(runs, key=lambda run: run.is_active, reverse=True):
        what = f"the receipt of {target.name}"
        if blocker := failed_run(run, inputs.world, Reason.SIGNING_FAILED, what, is_owed=True):
            return blocker
    return Blocker(Reason.NOT_SIGNED, f"the receipt of {target.name} is not signed yet", "wait")
