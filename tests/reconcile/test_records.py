"""What a shard's status says of what was trained, whoever writes it late."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stockpot.api.omissions import Omission
from stockpot.api.v1alpha1 import DataShard
from stockpot.core.actions import DropIngredient
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.shard import TrainingOutcome
from stockpot.reconcile.objects.shard import drop_ingredient, with_ingredient

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def digest(word: str) -> Digest:
    return digest_of_bytes(word.encode())


def trained(key: str, *left_out: str) -> TrainingOutcome:
    digests = (digest("base"), digest("data"))
    return TrainingOutcome(
        digest(key), digest(f"weights {key}"), NOON, *digests, 3, frozenset(left_out)
    )


def recorded(shard: DataShard, what: TrainingOutcome) -> DataShard:
    return with_ingredient(what, 1, "train-1")(shard)


def disowned(shard: DataShard, key: str, *records: str) -> DataShard:
    former = Ingredient(ShardUID("cats-uid"), digest(key))
    return drop_ingredient(
        DropIngredient(ShardUID("cats-uid"), former, records, is_known=True), NOON
    )(shard)


@pytest.fixture
def cats() -> DataShard:
    return DataShard.model_validate(
        {
            "metadata": {"name": "cats", "uid": "cats-uid"},
            "spec": {"soupRef": {"name": "pets"}, "source": {"s3": {"prefix": "cats/"}}},
        }
    )


def test_what_left_a_shard_is_not_written_down_again(cats: DataShard) -> None:
    gone = disowned(recorded(cats, trained("whole")), "whole", "first")

    assert recorded(gone, trained("whole")) == gone


def test_what_was_made_with_records_that_are_gone_for_good_is_not_written_down(
    cats: DataShard,
) -> None:
    one_gone = disowned(recorded(cats, trained("whole")), "whole", "first")
    both_gone = disowned(
        recorded(one_gone, trained("smaller", "first")), "smaller", "first", "second"
    )
    forgotten = both_gone.model_copy(
        update={"status": both_gone.status.model_copy(update={"former": ()})}
    )

    assert recorded(forgotten, trained("smaller", "first")) == forgotten
    assert recorded(forgotten, trained("least", "first", "second")).status.ingredient


def test_what_of_the_data_was_not_used_goes_with_the_ingredient(cats: DataShard) -> None:
    corrupt = Omission(reason="CorruptPicture", count=2, examples=("a.png (it is empty)",))
    whole = recorded(cats, replace(trained("whole"), omissions=(corrupt,)))

    gone = disowned(whole, "whole", "first")

    assert whole.status.omissions == (corrupt,)
    assert gone.status.omissions == (), "a name must not stay where the record may not"


def test_what_a_shard_has_is_not_replaced_by_what_comes_late(cats: DataShard) -> None:
    now = recorded(cats, trained("now", "first"))

    assert recorded(now, trained("late", "first")) == now
