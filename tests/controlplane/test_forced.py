"""A shard's object goes at once, by annotation: its unlearning goes on, on a real API server."""

from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.api.v1alpha1 import FORCE_DELETE
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS


def test_a_forced_shard_goes_at_once_and_is_unlearned_all_the_same(town: Town) -> None:
    town.operator()
    town.soup()
    food, travel = town.shard("food"), town.shard("travel")
    town.learnt("food", "travel")
    town.kubelet.order(Order("purge", hold=True))

    mark = {"metadata": {"annotations": {FORCE_DELETE: "true"}}}
    town.admin.merge(DATA_SHARDS, town.studio, "food", mark)
    town.delete("food")
    town.forgotten("food")
    lost = (town.get("soup", SOUPS) or {})["status"]["lost"]
    receipts = town.receipts()
    town.kubelet.forget_orders()

    town.until(lambda: len(town.receipts()) == 2, "a Complete receipt follows the Incomplete one")
    town.until(lambda: town.serving() == [{travel}], "the survivors are served")
    first, second = (receipt["spec"] for receipt in town.receipts())
    assert [shard["uid"] for shard in lost] == [food]
    assert not receipts, "its object went before it was unlearned"
    assert (first["completeness"], second["completeness"]) == ("Incomplete", "Complete")
    assert first["missing"][0].startswith("ForceDeleted")
    assert second["shard"]["uid"] == food
    assert not first.get("finalizerRemoved")
    assert second["sourceDigest"]
    town.until(
        lambda: not (town.get("soup", SOUPS) or {})["status"].get("lost"), "the note is dropped"
    )
