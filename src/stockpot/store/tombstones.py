"""Tombstones: mark forgotten shards. Checked before weights are read or written."""

from collections.abc import Iterable

from stockpot.api.manifest import LineagePair
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import ExitCode, Refused, Waiting
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore

ASKED_SINGLY = 4
"""Up to so many tombstones are each asked for; more of them are found in one listing."""
LEAST = ".least"
"""The suffix of a shard's mark that holds how many records its trainings must leave out."""


def leave_out_at_least(store: ObjectStore, keys: Keys, shard_uid: str, count: int) -> None:
    """Record how many records every training of a shard must leave out from now on.

    A record that left a shard stays out, so a training that leaves out fewer was requested earlier.
    """
    if count > _least(store, keys, shard_uid):
        store.put(keys.tombstone(shard_uid + LEAST), str(count).encode())


def refuse_too_many(store: ObjectStore, keys: Keys, shard_uid: str, left_out: int) -> None:
    """Refuse a training that leaves out fewer records than have left its shard.

    Raises:
        Refused: The training was requested before the records were named (exit 47).
    """
    least = _least(store, keys, shard_uid)
    if left_out < least:
        raise Refused(
            f"shard {shard_uid} is trained without {least} records, and here {left_out} are named",
            help="nothing needs doing: it is trained again without them",
            exit_code=ExitCode.FORGOTTEN,
        )


def refuse_outdated(store: ObjectStore, keys: Keys, shard_uid: str, left_out: int) -> None:
    """Refuse a purge that was requested before more records left the shard.

    A purge of records removes everything of a shard but what its spec says to keep. A late one
    would remove the training that was made without the records that left since.

    Raises:
        Waiting: More records have left the shard since the purge was requested.
    """
    least = _least(store, keys, shard_uid)
    if left_out < least:
        raise Waiting(
            f"{least} records have left shard {shard_uid}, and this purge was asked for when "
            f"{left_out} had",
            help="nothing needs doing: the purge is requested again",
        )


def _least(store: ObjectStore, keys: Keys, shard_uid: str) -> int:
    count = store.get(keys.tombstone(shard_uid + LEAST))
    return int(count) if count is not None else 0


def refuse_forgotten(
    store: ObjectStore, keys: Keys, shard_uids: Iterable[str], pairs: Iterable[LineagePair] = ()
) -> None:
    """Refuse to continue if one of the shards or trainings has a tombstone.

    A training has a tombstone of its own if records left its shard and the shard stays.

    Every run checks at its start, and again right before it publishes: a purge writes the tombstone
    first and sweeps twice, so it finds what was written in between.

    Raises:
        Refused: A shard or training was forgotten (exit 47); the message names its UID.
    """
    trainings = {
        former_of(Ingredient(ShardUID(pair.shard), Digest(pair.training_key)))
        for pair in pairs
        if pair.training_key
    }
    if forgotten := _forgotten(store, keys, {*shard_uids, *trainings}):
        uid = min(forgotten)
        raise Refused(
            f"shard {uid} was forgotten: {keys.tombstone(uid)} stands in the store",
            help="nothing needs doing: the soup goes on without it. To teach it again, apply "
            "a new DataShard that names the receipt in spec.relearn",
            exit_code=ExitCode.FORGOTTEN,
        )


def _forgotten(store: ObjectStore, keys: Keys, uids: set[str]) -> set[str]:
    """Return those that have a tombstone: many by one listing, which sees every finished write."""
    if len(uids) <= ASKED_SINGLY:
        return {uid for uid in uids if store.head(keys.tombstone(uid)) is not None}
    marks = {keys.tombstone(uid): uid for uid in uids}
    listed = (info.key for info in store.list(keys.tombstone("")))
    return {marks[key] for key in listed if key in marks}
