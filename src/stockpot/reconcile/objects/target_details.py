"""Reads the details of one unlearning target that its purge, its receipt and its record need."""

from dataclasses import dataclass

from stockpot.api.runspec import FormerRecords, KeptTrainings, ObjectRef
from stockpot.api.v1alpha1 import DataShard, Soup
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget
from stockpot.core.world import World
from stockpot.reconcile.objects.shard import request_of, source_digest
from stockpot.reconcile.ports import ObservedObjects


@dataclass(frozen=True)
class TargetDetails:
    """Details of an unlearning target, for runs and receipts."""

    ref: ObjectRef
    requested_at: str
    training_keys: tuple[str, ...] = ()
    source_digest: Digest | None = None
    data_digest: Digest | None = None
    is_lost: bool = False
    """Its object went before it was unlearned."""
    is_forced: bool = False
    """It went by an annotation or with its Soup, not because its finalizer was removed by hand."""
    former: FormerRecords | None = None
    """The records that left, where one past training is unlearned and the shard lives on."""


def gone_shard(uid: ShardUID, soup: Soup, observed: ObservedObjects, world: World) -> TargetDetails:
    """Return the details of a target, from its object or from the note in the Soup's status."""
    namespace = soup.metadata.namespace
    if former := former_training(uid, observed, world):
        return _former(uid, former, soup, observed)
    is_lost = any(target.uid == uid and target.is_lost for target in world.targets)
    shard = next((shard for shard in observed.shards if shard.metadata.uid == uid), None)
    if shard is None or is_lost:
        note = next(note for note in soup.status.lost if note.uid == uid)
        ref = ObjectRef(namespace=namespace, name=note.name, uid=uid)
        return TargetDetails(
            ref,
            note.unlearning.requested_at,
            note.training_keys,
            Digest(note.source_digest) if note.source_digest else None,
            Digest(note.data_digest) if note.data_digest else None,
            is_lost=True,
            is_forced=note.is_forced or note.is_owed,
        )
    status = shard.status
    return TargetDetails(
        ObjectRef(namespace=namespace, name=shard.metadata.name, uid=uid),
        status.unlearning.requested_at if status.unlearning else "",
        tuple(
            dict.fromkeys(
                key
                for key in (status.training_key, *(former.training_key for former in status.former))
                if key
            )
        ),
        source_digest(shard),
        Digest(status.data_digest) if status.data_digest else None,
    )


def former_training(uid: ShardUID, observed: ObservedObjects, world: World) -> Ingredient | None:
    """Return the past training that a UID names; None where it names a whole shard.

    Where its shard is being deleted by now, the training is no longer a target of its own.
    """
    if uid in world.former_of_dying:
        trainings = (
            Ingredient(ShardUID(shard.metadata.uid), Digest(former.training_key))
            for shard in observed.shards
            for former in shard.status.former
        )
        return next((training for training in trainings if former_of(training) == uid), None)
    return next((target.past_training for target in world.targets if target.uid == uid), None)


def _former(
    uid: ShardUID, former: Ingredient, soup: Soup, observed: ObservedObjects
) -> TargetDetails:
    shard = next(shard for shard in observed.shards if shard.metadata.uid == former.shard)
    note = next(note for note in shard.status.former if note.training_key == former.key)
    for_good = tuple(sorted({*shard.status.left_out, *note.records}))
    return TargetDetails(
        ObjectRef(namespace=soup.metadata.namespace, name=shard.metadata.name, uid=uid),
        note.unlearning.requested_at,
        (former.key,) if note.is_known else (),
        former=FormerRecords(
            shard=former.shard,
            training_key=former.key,
            records=note.records,
            requests=requests_without(shard, soup, for_good),
            # Without misspelt names: no training could ever be without those.
            left_out=len(for_good),
            kept=shard.status.training_key,
        ),
    )


def requests_without(shard: DataShard, soup: Soup, records: tuple[str, ...]) -> tuple[Digest, ...]:
    """Return the requests of the trainings of a shard that have none of the records.

    Returns:
        The request as it is now, and as it was when the records left.
    """
    spec = shard.spec.model_copy(update={"exclude_records": records})
    without = shard.model_copy(update={"spec": spec})
    return tuple(dict.fromkeys((request_of(shard, soup), request_of(without, soup))))


def kept_trainings(soup: Soup, observed: ObservedObjects) -> tuple[KeptTrainings, ...]:
    """Return the training that each shard keeps which records have left."""
    return tuple(
        KeptTrainings(
            shard=shard.metadata.uid,
            requests=requests_without(shard, soup, shard.status.left_out),
            left_out=len(shard.status.left_out),
            kept=shard.status.training_key,
        )
        for shard in observed.shards
        if shard.status.left_out and not shard.metadata.deletion_timestamp
    )


def keys_of(target: UnlearningTarget, world: World) -> tuple[Digest, ...]:
    """Return the keys of every training that a revision still names, and of the shard's own."""
    named = (ingredient for revision in world.soup.made for ingredient in revision.lineage)
    keys = {ingredient.key for ingredient in named if ingredient.shard == target.uid}
    if isinstance(target.owner, ShardObject) and target.owner.shard.trained:
        keys.add(target.owner.shard.trained.key)
    return tuple(sorted(keys - {Digest("")}))
