"""How a Soup that is being deleted goes: last of all, or before the end with a debt.

A Soup stays until its shards are unlearned. It is let go before that by its annotation, or where
its namespace ends and the deadline has passed. Then what is owed is written outside of the
namespace first, as an UnlearningDebt, so that nothing is lost with the objects.
"""

from collections.abc import Iterator, Mapping

from stockpot.api.conditions import Reason
from stockpot.core.actions import Action, ReleaseShard, ReleaseSoup, WriteDebt
from stockpot.core.blocker import Blocker
from stockpot.core.recipe import ShardUID
from stockpot.core.stages import CheckInput, PendingStage
from stockpot.core.unlearning_target import LostObject, ShardObject, UnlearningTarget
from stockpot.core.world import World

Pending = Mapping[ShardUID, PendingStage | None]

FORCE = "kubectl annotate soup {} stockpot.dev/force-delete=true"


def is_let_go(inputs: CheckInput, pending: Pending) -> bool:
    """Whether the Soup goes before its shards are unlearned.

    All of it goes at once, because a debt is paid only after its Soup is gone. A DataShard that is
    not deleted holds its Soup: the unlearning of a living shard was not asked for.
    """
    world = inputs.world
    if world.soup.alive or not world.has_ledger or world.shards:
        return False
    if not all(map(_may_go, world.targets)):
        return False
    if world.soup.is_forced:
        return True
    left = [target for target in world.targets if pending[target.uid] or target.is_owed]
    return (
        world.namespace_terminates
        and bool(left)
        and all(target.is_owed or target.uid in inputs.overdue for target in left)
    )


def _may_go(target: UnlearningTarget) -> bool:
    owner = target.owner
    return isinstance(owner, LostObject) or (isinstance(owner, ShardObject) and owner.is_deleted)


def plan_let_go(inputs: CheckInput, pending: Pending) -> Iterator[Action]:
    """Write what is owed; once that is observed, release the shards, and then the Soup."""
    world = inputs.world
    targets = sorted(world.targets, key=lambda target: target.name)
    unwritten = tuple(t.uid for t in targets if pending[t.uid] and not t.is_owed)
    if unwritten:
        yield WriteDebt(unwritten)
        return
    # What has reached every stage owes nothing, and goes as well.
    held = [target for target in targets if _is_held(target)]
    for target in held:
        yield ReleaseShard(target.uid)
    if world.soup.held and not held and not world.replicas:
        yield ReleaseSoup()


def _is_held(target: UnlearningTarget) -> bool:
    return isinstance(target.owner, ShardObject) and target.owner.shard.held


def deletion_blocker(inputs: CheckInput, pending: Pending) -> Blocker:
    """Return what a Soup that is being deleted waits for, and what to do about it."""
    world = inputs.world
    soup = world.soup
    if is_let_go(inputs, pending):
        return Blocker(
            Reason.OWED,
            f"Soup {soup.name} is let go before its shards are unlearned; an UnlearningDebt in the "
            "operator's namespace has what is owed",
            "see kubectl get debts -A",
        )
    living = sorted(shard.name for shard in world.shards)
    living += sorted(target.name for target in world.targets if not _may_go(target))
    if living:
        more = f" and {len(living) - 5} more" if len(living) > 5 else ""
        return Blocker(
            Reason.BEING_DELETED,
            f"Soup {soup.name} is being deleted, and its DataShards {', '.join(living[:5])}{more} "
            "are not",
            "delete its DataShards: the Soup is removed after the last one is unlearned",
        )
    left = sorted(
        ((target, stage) for target in world.targets if (stage := pending[target.uid])),
        # What a person has to mend comes first.
        key=lambda item: (not item[1].blocker.needs_person, item[0].name),
    )
    if not left:
        return Blocker(
            Reason.BEING_DELETED, f"Soup {soup.name} is being deleted: its runs end", "wait"
        )
    target, first = left[0]
    blocker = first.blocker
    if soup.is_gone:
        owed = "1 unlearning of it is" if len(left) == 1 else f"{len(left)} unlearnings of it are"
        message = f"Soup {soup.name} is gone, and {owed} owed"
        helps = [blocker.help]
    else:
        shards = "1 shard is" if len(left) == 1 else f"{len(left)} shards are"
        message = f"Soup {soup.name} is being deleted, and {shards} to be unlearned"
        helps = [blocker.help, _without_waiting(target, inputs)]
    return Blocker(
        blocker.reason,
        f"{message}: {blocker.message}",
        "; ".join(filter(None, helps)),
        blocker.needs_person,
        blocker.wake_at,
    )


def _without_waiting(target: UnlearningTarget, inputs: CheckInput) -> str:
    """Return how the Soup goes without its unlearning."""
    world: World = inputs.world
    if not world.has_ledger:
        return ""
    if world.namespace_terminates:
        late = "now" if target.uid in inputs.overdue else "after unlearning.deadlineSeconds"
        return (
            f"its namespace is being deleted: {late} what is left is written into an "
            "UnlearningDebt, and the Soup goes"
        )
    return f"to let it go before that: {FORCE.format(world.soup.name)}"
