"""From kubectl apply to the receipt, on a real API server."""

from tests.controlplane.town import Town

from stockpot.cluster.resources import SOUPS


def test_shards_that_are_applied_are_trained_included_and_served(town: Town) -> None:
    town.operator()
    town.soup()
    uids = {town.shard("food"), town.shard("travel")}

    took_s = town.learnt("food", "travel", within_s=60)
    print(f"learnt in {took_s:.1f} s")

    assert town.serving() == [uids]
    for name in ("food", "travel"):
        assert town.is_so(name, "Trained")
        assert town.is_so(name, "Included")
    assert town.is_so("soup", "Serving", SOUPS)


def test_a_shard_that_is_deleted_goes_when_its_receipt_is_stored(town: Town) -> None:
    town.operator()
    town.soup()
    food, travel = town.shard("food"), town.shard("travel")
    town.learnt("food", "travel", within_s=60)

    town.delete("food")
    took_s = town.forgotten("food")
    print(f"forgotten in {took_s:.1f} s")

    assert town.serving() == [{travel}]
    [receipt] = town.receipts()
    assert receipt["spec"]["shard"] == {"name": "food", "uid": food}
