"""The marks that a shard was forgotten. Whoever reads or writes weights asks here first."""

from collections.abc import Iterable

from stockpot.api.manifest import LineagePair
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import ExitCode, Refused, Waiting
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore

LEAST = ".least"
"""What stands behind a shard's UID in the name of the mark of how many records it leaves out."""


def leave_out_at_least(store: ObjectStore, keys: Keys, shard_uid: str, count: int) -> None:
    """Say how many records every training of a shard leaves out from now on.

    A record that left a shard stays out, so whoever leaves out fewer was asked before it was named.
    """
    if count > _least(store, keys, shard_uid):
        store.put(keys.tombstone(shard_uid + LEAST), str(count).encode())


def refuse_too_many(store: ObjectStore, keys: Keys, shard_uid: str, left_out: int) -> None:
    """Refuse a training that leaves out fewer records than were told to leave its shard.

    Raises:
        Refused: It was asked for before they were named (exit 47).
    """
    least = _least(store, keys, shard_uid)
    if left_out < least:
        raise Refused(
            f"shard {shard_uid} is trained without {least} records, and here {left_out} are named",
            help="nothing needs doing: it is trained again without them",
            exit_code=ExitCode.FORGOTTEN,
        )


def refuse_outdated(store: ObjectStore, keys: Keys, shard_uid: str, left_out: int) -> None:
    """Refuse to purge by what was known before still more records left the shard.

    A purge of records removes all of a shard's own but what it was told is kept. One that wakes up
    late would remove the training that was made without them.

    Raises:
        Waiting: More records have left the shard since the purge was asked for.
    """
    least = _least(store, keys, shard_uid)
    if left_out < least:
        raise Waiting(
            f"{least} records have left shard {shard_uid}, and this purge was asked for when "
            f"{left_out} had",
            help="nothing needs doing: it is asked for again",
        )


def _least(store: ObjectStore, keys: Keys, shard_uid: str) -> int:
    said = store.get(keys.tombstone(shard_uid + LEAST))
    return int(said) if said is not None else 0


def refuse_forgotten(
    store: ObjectStore, keys: Keys, shard_uids: Iterable[str], pairs: Iterable[LineagePair] = ()
) -> None:
    """Refuse to go on where a tombstone stands for one of the shards, or one of the trainings.

    A training has one of its own where records left its shard: the shard goes on without them.

    Every verb asks at its start, and again right before it publishes: a purge writes the
    tombstone first and sweeps twice, so whatever was written in between is found.

    Raises:
        Refused: One of them was forgotten (exit 47); the message names its UID.
    """
    trainings = {
        former_of(Ingredient(ShardUID(pair.shard), Digest(pair.training_key)))
        for pair in pairs
        if pair.training_key
    }
    for uid in sorted({*shard_uids, *trainings}):
        if store.head(keys.tombstone(uid)) is not None:
            raise Refused(
                f"shard {uid} was forgotten: {keys.tombstone(uid)} stands in the store",
                help="nothing needs doing: the soup goes on without it. To teach it again, apply "
                "a new DataShard that names the receipt in spec.relearn",
                exit_code=ExitCode.FORGOTTEN,
            )
