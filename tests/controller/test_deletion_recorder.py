"""Which deletions are written down before any round."""

import pytest

from stockpot.api.source import S3Source, Source
from stockpot.api.v1alpha1 import (
    FINALIZER,
    FORCE_DELETE,
    DataShard,
    DataShardSpec,
    DataShardStatus,
    NamedRef,
    ObjectMeta,
    ShardUnlearning,
)
from stockpot.reconcile.objects.unlearning import needs_tombstone

NOON = "2026-11-22T12:00:00Z"


def a_shard(*, unlearning: ShardUnlearning | None = None, **about: object) -> DataShard:
    fixed = {"name": "cats", "uid": "u1", "finalizers": (FINALIZER,), "deletion_timestamp": NOON}
    return DataShard(
        metadata=ObjectMeta.model_validate(fixed | about),
        spec=DataShardSpec(soup_ref=NamedRef(name="pets"), source=Source(s3=S3Source(prefix="c"))),
        status=DataShardStatus(unlearning=unlearning),
    )


def test_a_deletion_is_written_down() -> None:
    assert needs_tombstone(a_shard())


@pytest.mark.parametrize(
    "shard",
    [
        a_shard(deletion_timestamp=None),
        a_shard(finalizers=()),
        a_shard(annotations={FORCE_DELETE: "true"}),
        a_shard(unlearning=ShardUnlearning(requested_at=NOON, stage="Tombstoned")),
    ],
    ids=["alive", "not ours", "by force", "it is already"],
)
def test_what_is_a_rounds_to_say_is_left_to_it(shard: DataShard) -> None:
    assert not needs_tombstone(shard)
