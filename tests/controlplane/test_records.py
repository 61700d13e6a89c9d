"""Records leave a shard, on a real API server."""

from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.cluster.apiserver.resources import DATA_SHARDS


def test_a_shard_without_some_records_comes_back_with_a_receipt_of_its_own(town: Town) -> None:
    town.operator()
    town.soup()
    food, travel = town.shard("food"), town.shard("travel")
    town.learnt("food", "travel")
    before = (town.get("food") or {})["status"]["trainingKey"]
    town.kubelet.order(Order("train", hold=True, shard="food"))

    leave = {"spec": {"excludeRecords": ["first"]}}
    town.admin.merge(DATA_SHARDS, town.studio, "food", leave)
    town.until(lambda: town.serving() == [{travel}], "the shard leaves the soup at once")
    training = town.condition("food", "Trained")
    town.kubelet.forget_orders()
    town.until(town.receipts, "what had the record has its receipt")
    town.until(lambda: town.serving() == [{food, travel}], "the shard comes back")

    status = (town.get("food") or {})["status"]
    [receipt] = (receipt_object["spec"] for receipt_object in town.receipts())
    assert training["status"] == "False"
    assert (receipt["scope"], receipt["completeness"]) == ("Records", "Complete")
    assert receipt["shard"]["uid"] == f"{food}.{before.removeprefix('sha256:')[:16]}"
    assert "first" not in str(receipt)
    assert status["trainingKey"] != before
    assert status["ingredient"]["leftOut"] == ["first"]
    assert status["leftOut"] == ["first"]


def test_a_record_that_is_not_there_is_named_and_nothing_is_lost(town: Town) -> None:
    town.operator()
    town.soup()
    food = town.shard("food")
    town.learnt("food")
    before = (town.get("food") or {})["status"]["trainingKey"]

    wrong = {"spec": {"excludeRecords": ["nobody"]}}
    town.admin.merge(DATA_SHARDS, town.studio, "food", wrong)
    town.until(lambda: town.is_so("food", "Stalled"), "the shard says what is wrong")
    condition = town.condition("food", "Stalled")
    right: dict[str, dict[str, list[str]]] = {"spec": {"excludeRecords": []}}
    town.admin.merge(DATA_SHARDS, town.studio, "food", right)
    town.until(lambda: town.serving() == [{food}], "the shard comes back as it was")

    assert condition["reason"] == "BadData"
    assert (town.get("food") or {})["status"]["trainingKey"] == before
    assert not town.receipts()
