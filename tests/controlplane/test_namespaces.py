"""A namespace that is deleted goes, whatever its soups are doing, and forgets all the same."""

from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.cluster.apiserver.objects import name_of, namespace_of
from stockpot.cluster.apiserver.resources import JOBS, NAMESPACES, SOUPS


def is_gone(town: Town) -> bool:
    return town.mirror.get(NAMESPACES, "", town.studio) is None


def soup_uid(town: Town) -> str:
    soup = town.get("soup", SOUPS)
    assert soup
    return str(soup["metadata"]["uid"])


def test_a_namespace_that_is_deleted_at_any_stage_goes_and_leaves_receipts(
    town: Town, figure: Figure
) -> None:
    training, served, merging = town, town.suburb(), town.suburb()
    purging, signing = town.suburb(), town.suburb()
    places = {
        "training": training,
        "merging": merging,
        "served": served,
        "purging": purging,
        "signing": signing,
    }
    operator = town.operator(workloadNamespaces=[place.studio for place in places.values()])
    kubelet = town.kubelet
    kubelet.order(Order("train", shard="slow", hold=True))
    kubelet.order(Order("purge", shard="bread", hold=True))
    kubelet.order(Order("sign", shard="crust", hold=True))
    for place in places.values():
        place.soup()
    slow, food, bread, crust = (
        place.shard(name)
        for place, name in (
            (training, "slow"),
            (served, "food"),
            (purging, "bread"),
            (signing, "crust"),
        )
    )
    town.until(lambda: merging.is_so("soup", "Ready", SOUPS), "the base is served")
    kubelet.order(Order("merge", namespace=merging.studio, hold=True))
    late = merging.shard("late")
    town.until(lambda: training.condition("slow", "Ready")["reason"] == "Training", "it trains")
    served.learnt("food")
    purging.learnt("bread")
    signing.learnt("crust")
    purging.delete("bread")
    signing.delete("crust")
    town.until(lambda: merging.jobs("merge"), "a merge runs")
    town.until(lambda: purging.jobs("purge"), "a purge runs")
    town.until(lambda: signing.jobs("sign"), "a signing runs")
    uids = {name: soup_uid(place) for name, place in places.items()}

    for place in places.values():
        town.admin.delete(NAMESPACES, None, place.studio)
    town.until(lambda: not training.jobs("train"), "the training is ended")
    town.until(lambda: not merging.jobs("merge"), "the merge is ended")
    kubelet.let_go("purge")
    kubelet.let_go("sign")
    took_s = town.until(lambda: all(map(is_gone, places.values())), "all are gone", 90)

    figure("seconds until namespaces at five stages are gone", took_s)
    receipts = {
        name: [shard for shard, _ in kubelet.kitchen(uid).store.receipts]
        for name, uid in uids.items()
    }
    assert receipts == {
        "training": [slow],
        "merging": [late],
        "served": [food],
        "purging": [bread],
        "signing": [crust],
    }
    signed = {
        namespace_of(entry.thing)
        for entry in town.mirror.happened(JOBS, [town.release])
        if "-sign-" in name_of(entry.thing)
    }
    assert signed == {town.release}
    # Nothing but Events is even tried there: the API server would have said so.
    assert not [line for line in operator.log_lines() if "is being terminated" in str(line)]
    assert not town.jobs()


def test_a_namespace_that_is_gone_holds_up_no_other(town: Town) -> None:
    other = town.suburb()
    operator = town.operator(workloadNamespaces=["never-made", town.studio, other.studio])
    town.admin.delete(NAMESPACES, None, other.studio)
    town.until(lambda: is_gone(other), "the other namespace is gone")
    town.soup()
    town.shard("food")

    town.learnt("food")

    assert any("in the namespace never-made" in line["message"] for line in operator.log_lines())
