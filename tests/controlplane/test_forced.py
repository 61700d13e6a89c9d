"""A shard's object goes at once, by annotation: its unlearning goes on, on a real API server."""

from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.api.v1alpha1 import FORCE_DELETE
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS


def test_a_forced_shard_goes_at_once_and_is_unlearned_all_the_same(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")
    test_cluster.kubelet.order(Order("purge", hold=True))

    mark = {"metadata": {"annotations": {FORCE_DELETE: "true"}}}
    test_cluster.admin.merge(DATA_SHARDS, test_cluster.studio, "food", mark)
    test_cluster.delete("food")
    test_cluster.forgotten("food")
    lost = (test_cluster.get("soup", SOUPS) or {})["status"]["lost"]
    receipts = test_cluster.receipts()
    test_cluster.kubelet.forget_orders()

    test_cluster.until(
        lambda: len(test_cluster.receipts()) == 2, "a Complete receipt follows the Incomplete one"
    )
    test_cluster.until(lambda: test_cluster.serving() == [{travel}], "the survivors are served")
    first, second = (receipt["spec"] for receipt in test_cluster.receipts())
    assert [shard["uid"] for shard in lost] == [food]
    assert not receipts, "its object went before it was unlearned"
    assert (first["completeness"], second["completeness"]) == ("Incomplete", "Complete")
    assert first["missing"][0].startswith("ForceDeleted")
    assert second["shard"]["uid"] == food
    assert not first.get("finalizerRemoved")
    assert second["sourceDigest"]
    test_cluster.until(
        lambda: not (test_cluster.get("soup", SOUPS) or {})["status"].get("lost"),
        "the note is dropped",
    )
