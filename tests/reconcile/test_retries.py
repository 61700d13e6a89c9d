"""A request to retry is the annotation's whole value, however long it is."""

from stockpot.api.v1alpha1 import RETRY, DataShard
from stockpot.core.actions import RecordRetry
from stockpot.core.recipe import ShardUID
from stockpot.reconcile.objects.fields import retry_request
from stockpot.reconcile.objects.shard import with_retry


def a_shard(value: str) -> DataShard:
    return DataShard.model_validate(
        {
            "metadata": {"name": "food", "uid": "uid-food", "annotations": {RETRY: value}},
            "spec": {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "food/"}}},
        }
    )


def recorded(shard: DataShard) -> DataShard:
    action = RecordRetry(ShardUID("uid-food"), retry_request(shard).value, ())
    return with_retry(action)(shard)


def test_a_request_that_was_recorded_is_not_due_again() -> None:
    for value in ("2", "long " * 100):
        assert retry_request(a_shard(value)).is_due
        assert not retry_request(recorded(a_shard(value))).is_due


def test_two_long_values_that_begin_alike_are_two_requests() -> None:
    first = recorded(a_shard("long " * 100 + "1"))
    second = a_shard("long " * 100 + "2").model_copy(update={"status": first.status})

    assert retry_request(second).is_due
