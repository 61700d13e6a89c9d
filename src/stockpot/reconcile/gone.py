"""A shard that is being unlearned, whether or not its object is still there to ask."""

from dataclasses import dataclass

from stockpot.api.runspec import ObjectRef
from stockpot.api.v1alpha1 import Soup
from stockpot.core.digests import Digest
from stockpot.core.recipe import ShardUID
from stockpot.core.world import Shard, World
from stockpot.reconcile.ports import Seen
from stockpot.reconcile.views import source_digest


@dataclass(frozen=True)
class Gone:
    """What runs and receipts are told of it."""

    ref: ObjectRef
    requested_at: str
    training_keys: tuple[str, ...] = ()
    source_digest: Digest | None = None
    data_digest: Digest | None = None
    is_lost: bool = False
    """Its object went before it was unlearned."""


def gone_shard(uid: ShardUID, soup: Soup, seen: Seen, world: World) -> Gone:
    """Say what is known of it: by its object, or by what the Soup wrote down."""
    namespace = soup.metadata.namespace
    is_lost = any(one.uid == uid and one.is_lost for one in world.shards)
    shard = next((one for one in seen.shards if one.metadata.uid == uid), None)
    if shard is None or is_lost:
        note = next(one for one in soup.status.lost if one.uid == uid)
        ref = ObjectRef(namespace=namespace, name=note.name, uid=uid)
        return Gone(ref, note.unlearning.requested_at, note.training_keys, is_lost=True)
    status = shard.status
    return Gone(
        ObjectRef(namespace=namespace, name=shard.metadata.name, uid=uid),
        status.unlearning.requested_at if status.unlearning else "",
        (status.training_key,) if status.training_key else (),
        source_digest(shard),
        Digest(status.data_digest) if status.data_digest else None,
    )


def keys_of(shard: Shard, world: World) -> tuple[Digest, ...]:
    """Every training of a shard that any revision still names."""
    named = (one for revision in world.soup.made for one in revision.lineage)
    return tuple(sorted({one.key for one in named if one.shard == shard.uid and one.key}))
