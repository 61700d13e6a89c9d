"""A namespace that is deleted goes, whatever its soups are doing, and forgets all the same."""

from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.cluster.objects import name_of, namespace_of
from stockpot.cluster.resources import JOBS, NAMESPACES, SOUPS


def is_gone(town: Town) -> bool:
    return town.mirror.get(NAMESPACES, "", town.studio) is None


def soup_uid(town: Town) -> str:
    soup = town.get("soup", SOUPS)
    assert soup
    return str(soup["metadata"]["uid"])


def test_a_namespace_that_is_deleted_at_any_stage_goes_and_leaves_receipts(
    town: Town, figure: Figure
) -> None:
    training, served, purging = town, town.suburb(), town.suburb()
    places = {"training": training, "served": served, "purging": purging}
    town.operator(workloadNamespaces=[one.studio for one in places.values()])
    town.kubelet.order(Order("train", shard="slow", hold=True))
    town.kubelet.order(Order("purge", shard="bread", hold=True))
    training.soup()
    slow = training.shard("slow")
    served.soup()
    food = served.shard("food")
    purging.soup()
    bread = purging.shard("bread")
    town.until(lambda: training.condition("slow", "Ready")["reason"] == "Training", "it trains")
    served.learnt("food")
    purging.learnt("bread")
    purging.delete("bread")
    town.until(lambda: purging.jobs("purge"), "a purge runs")
    uids = {name: soup_uid(one) for name, one in places.items()}

    for one in places.values():
        town.admin.delete(NAMESPACES, None, one.studio)
    town.until(lambda: not training.jobs("train"), "the training is ended")
    town.kubelet.let_go("purge")
    took_s = town.until(lambda: all(map(is_gone, places.values())), "all are gone", 90)

    figure("seconds until namespaces at three stages are gone", took_s)
    receipts = {
        name: [shard for shard, _ in town.kubelet.kitchen(uid).store.receipts]
        for name, uid in uids.items()
    }
    assert receipts == {"training": [slow], "served": [food], "purging": [bread]}
    signed = {
        namespace_of(one.thing)
        for one in town.mirror.happened(JOBS, [town.release])
        if "-sign-" in name_of(one.thing)
    }
    assert signed == {town.release}
    assert not town.jobs()


def test_a_namespace_that_is_gone_holds_up_no_other(town: Town) -> None:
    other = town.suburb()
    operator = town.operator(workloadNamespaces=["never-made", town.studio, other.studio])
    town.admin.delete(NAMESPACES, None, other.studio)
    town.until(lambda: is_gone(other), "the other namespace is gone")
    town.soup()
    town.shard("food")

    town.learnt("food")

    assert any("in the namespace never-made" in one["message"] for one in operator.said())
