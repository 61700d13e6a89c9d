"""Records leave a shard, on a real API server."""

from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.resources import DATA_SHARDS


def test_a_shard_without_some_records_comes_back_with_a_receipt_of_its_own(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")
    before = (test_cluster.get("food") or {})["status"]["trainingKey"]
    test_cluster.kubelet.order(Order("train", hold=True, shard="food"))

    leave = {"spec": {"excludeRecords": ["first"]}}
    test_cluster.admin.merge(DATA_SHARDS, test_cluster.studio, "food", leave)
    test_cluster.until(
        lambda: test_cluster.serving() == [{travel}], "the shard leaves the soup at once"
    )
    training = test_cluster.condition("food", "Trained")
    test_cluster.kubelet.forget_orders()
    test_cluster.until(test_cluster.receipts, "what had the record has its receipt")
    test_cluster.until(lambda: test_cluster.serving() == [{food, travel}], "the shard comes back")

    status = (test_cluster.get("food") or {})["status"]
    [receipt] = (receipt_object["spec"] for receipt_object in test_cluster.receipts())
    assert training["status"] == "False"
    assert (receipt["scope"], receipt["completeness"]) == ("Records", "Complete")
    assert receipt["shard"]["uid"] == f"{food}.{before.removeprefix('sha256:')[:16]}"
    assert "first" not in str(receipt)
    assert status["trainingKey"] != before
    assert status["ingredient"]["leftOut"] == ["first"]
    assert status["leftOut"] == ["first"]


def test_a_record_that_is_not_there_is_named_and_nothing_is_lost(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.learnt("food")
    before = (test_cluster.get("food") or {})["status"]["trainingKey"]

    wrong = {"spec": {"excludeRecords": ["nobody"]}}
    test_cluster.admin.merge(DATA_SHARDS, test_cluster.studio, "food", wrong)
    test_cluster.until(
        lambda: test_cluster.is_so("food", "Stalled"), "the shard says what is wrong"
    )
    condition = test_cluster.condition("food", "Stalled")
    included = test_cluster.condition("food", "Included")
    serving = test_cluster.serving()
    right: dict[str, dict[str, list[str]]] = {"spec": {"excludeRecords": []}}
    test_cluster.admin.merge(DATA_SHARDS, test_cluster.studio, "food", right)
    test_cluster.until(
        lambda: not test_cluster.is_so("food", "Stalled"), "nothing is wrong any more"
    )

    assert condition["reason"] == "UnknownRecords"
    assert "food was not trained on nobody" in condition["message"]
    assert included["status"] == "True"
    assert serving == test_cluster.serving() == [{food}], "it never left the soup"
    assert not test_cluster.jobs("train")
    assert (test_cluster.get("food") or {})["status"]["trainingKey"] == before
    assert not test_cluster.receipts()
