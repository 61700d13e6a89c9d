"""A namespace that is deleted goes, whatever its soups are doing, and forgets all the same."""

from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.api.runspec import RUN_SPEC as RUN_SPECS
from stockpot.api.runspec import TrainRun
from stockpot.api.v1alpha1.common import ADOPT_STORE
from stockpot.cluster.apiserver.labels import RUN_SPEC
from stockpot.cluster.apiserver.objects import annotations_on, name_of, namespace_of, uid_of
from stockpot.cluster.apiserver.resources import JOBS, NAMESPACES, SOUPS


def is_gone(test_cluster: TestCluster) -> bool:
    return test_cluster.mirror.get(NAMESPACES, "", test_cluster.studio) is None


def soup_uid(test_cluster: TestCluster) -> str:
    soup = test_cluster.get("soup", SOUPS)
    assert soup
    return str(soup["metadata"]["uid"])


def test_a_namespace_that_is_deleted_at_any_stage_goes_and_leaves_receipts(
    test_cluster: TestCluster, figure: Figure
) -> None:
    training, served, merging = (
        test_cluster,
        test_cluster.add_namespace(),
        test_cluster.add_namespace(),
    )
    purging, signing = test_cluster.add_namespace(), test_cluster.add_namespace()
    places = {
        "training": training,
        "merging": merging,
        "served": served,
        "purging": purging,
        "signing": signing,
    }
    operator = test_cluster.operator(workloadNamespaces=[place.studio for place in places.values()])
    kubelet = test_cluster.kubelet
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
    test_cluster.until(lambda: merging.is_so("soup", "Serving", SOUPS), "the base is served")
    kubelet.order(Order("merge", namespace=merging.studio, hold=True))
    late = merging.shard("late")
    test_cluster.until(
        lambda: training.condition("slow", "Ready")["reason"] == "Training", "it trains"
    )
    served.learnt("food")
    purging.learnt("bread")
    signing.learnt("crust")
    purging.delete("bread")
    signing.delete("crust")
    test_cluster.until(lambda: merging.jobs("merge"), "a merge runs")
    test_cluster.until(lambda: purging.jobs("purge"), "a purge runs")
    test_cluster.until(lambda: signing.jobs("sign"), "a signing runs")
    uids = {name: soup_uid(place) for name, place in places.items()}

    for place in places.values():
        test_cluster.admin.delete(NAMESPACES, None, place.studio)
    test_cluster.until(lambda: not training.jobs("train"), "the training is ended")
    test_cluster.until(lambda: not merging.jobs("merge"), "the merge is ended")
    kubelet.let_go("purge")
    kubelet.let_go("sign")
    took_s = test_cluster.until(lambda: all(map(is_gone, places.values())), "all are gone", 90)

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
        for entry in test_cluster.mirror.happened(JOBS, [test_cluster.release])
        if "-sign-" in name_of(entry.thing)
    }
    assert signed == {test_cluster.release}
    # Nothing but Events is even tried there: the API server would have said so.
    assert not [line for line in operator.log_lines() if "is being terminated" in str(line)]
    assert not test_cluster.jobs()


def test_a_namespace_that_is_gone_holds_up_no_other(test_cluster: TestCluster) -> None:
    other = test_cluster.add_namespace()
    operator = test_cluster.operator(
        workloadNamespaces=["never-made", test_cluster.studio, other.studio]
    )
    test_cluster.admin.delete(NAMESPACES, None, other.studio)
    test_cluster.until(lambda: is_gone(other), "the other namespace is gone")
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.learnt("food")

    assert any("in the namespace never-made" in line["message"] for line in operator.log_lines())


def test_a_namespace_that_comes_again_is_let_in_by_its_annotation(
    test_cluster: TestCluster,
) -> None:
    refusal = "studio/ in the store belongs to the namespace studio with UID uid-1"
    test_cluster.kubelet.order(Order("train", exit_code=50, problem=refusal))
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.until(
        lambda: test_cluster.condition("food", "Ready").get("reason") == "OtherNamespace",
        "the shard says so",
    )
    condition = test_cluster.condition("food", "Ready")

    annotation = {"metadata": {"annotations": {ADOPT_STORE: "uid-1"}}}
    test_cluster.admin.merge(NAMESPACES, None, test_cluster.studio, annotation)
    test_cluster.kubelet.forget_orders()
    test_cluster.learnt("food")

    assert refusal in condition["message"]
    namespace = test_cluster.admin.get(NAMESPACES, None, test_cluster.studio)
    assert namespace
    specs = [
        RUN_SPECS.validate_json(annotations_on(entry.thing["spec"]["template"])[RUN_SPEC])
        for entry in test_cluster.mirror.happened(JOBS, [test_cluster.studio])
        if "-train-" in name_of(entry.thing)
    ]
    trainings = [spec for spec in specs if isinstance(spec, TrainRun)]
    assert len(trainings) == len(specs)
    assert {spec.namespace.uid for spec in trainings} == {uid_of(namespace)}
    assert {spec.namespace.adopts for spec in trainings} == {"", "uid-1"}
