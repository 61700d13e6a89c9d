"""The marks that a shard was forgotten. Whoever reads or writes weights asks here first."""

from collections.abc import Iterable

from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore


def refuse_forgotten(store: ObjectStore, keys: Keys, shard_uids: Iterable[str]) -> None:
    """Refuse to go on where a tombstone stands for one of the shards.

    Every verb asks at its start, and again right before it publishes: a purge writes the
    tombstone first and sweeps twice, so whatever was written in between is found.

    Raises:
        Refused: One of them was forgotten (exit 47); the message names its UID.
    """
    for uid in sorted(set(shard_uids)):
        if store.head(keys.tombstone(uid)) is not None:
            raise Refused(
                f"shard {uid} was forgotten: {keys.tombstone(uid)} stands in the store",
                help="nothing needs doing: the soup goes on without it. To teach it again, apply "
                "a new DataShard that names the receipt in spec.relearn",
                exit_code=ExitCode.FORGOTTEN,
            )
