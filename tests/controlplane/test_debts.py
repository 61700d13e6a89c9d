"""Soups that go while their store does not answer: what is owed is written down, and paid later."""

from tests.controlplane.conftest import Figure
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.api.v1alpha1 import FINALIZER, FORCE_DELETE
from stockpot.cluster.apiserver.objects import Json, condition_of, uid_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    NAMESPACES,
    SOUPS,
    UNLEARNING_DEBTS,
)

AWAY = Order("purge", exit_code=7, problem="the store does not answer")


def debts(test_cluster: TestCluster) -> list[Json]:
    return test_cluster.mirror.of(UNLEARNING_DEBTS, test_cluster.release)


def ready(debt: Json, status: str) -> Json:
    return condition_of(debt, "Ready", status) or {"reason": "", "message": ""}


def is_paid(test_cluster: TestCluster) -> bool:
    [debt] = debts(test_cluster)
    return ready(debt, "True")["reason"] == "Paid" and not debt["metadata"].get("finalizers")


def chain(test_cluster: TestCluster, soup_uid: str) -> list[tuple[str, bool]]:
    return test_cluster.kubelet.kitchen(soup_uid).store.receipts


def test_a_soup_whose_store_does_not_answer_goes_by_force_and_its_debt_is_paid(
    test_cluster: TestCluster, figure: Figure
) -> None:
    operator = test_cluster.operator()
    soup_uid = uid_of(test_cluster.soup())
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")
    test_cluster.kubelet.order(AWAY)
    for name in ("food", "travel"):
        test_cluster.delete(name)
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: "does not answer" in test_cluster.condition("soup", "Ready", SOUPS)["message"],
        "the Soup says what it waits for",
    )
    waits = test_cluster.condition("soup", "Ready", SOUPS)["message"]

    mark = {"metadata": {"annotations": {FORCE_DELETE: "true"}}}
    test_cluster.admin.merge(SOUPS, test_cluster.studio, "soup", mark)
    took_s = test_cluster.until(
        lambda: not test_cluster.all(SOUPS) and not test_cluster.all(DATA_SHARDS), "all are gone"
    )
    figure("seconds until a forced soup is gone", took_s)
    test_cluster.until(
        lambda: "does not answer" in ready(debts(test_cluster)[0], "False")["message"],
        "the debt says what it waits for",
    )
    [owed] = debts(test_cluster)
    shown = test_cluster.kubectl("get", "debts", "-n", test_cluster.release)
    metrics = operator.metrics()
    receipts_before = chain(test_cluster, soup_uid).copy()
    test_cluster.kubelet.forget_orders()
    test_cluster.until(lambda: is_paid(test_cluster), "the debt is paid", 120)

    assert "stockpot.dev/force-delete=true" in waits
    assert {shard["uid"] for shard in owed["spec"]["shards"]} == {food, travel}
    assert owed["spec"]["reason"] == "ForceDeleted"
    assert owed["metadata"]["finalizers"] == [FINALIZER]
    assert owed["status"]["owed"] == 2
    assert ready(owed, "False")["reason"] == "StorageUnavailable"
    assert "ForceDeleted" in shown
    assert test_cluster.studio in shown
    assert not receipts_before
    series = f'namespace="{test_cluster.release}",soup="soup-{soup_uid[:8]}"'
    assert f"stockpot_deletions_in_flight{{{series}}} 2.0" in metrics
    signed = chain(test_cluster, soup_uid)
    assert {uid for uid, complete in signed if complete} == {food, travel}
    assert {uid for uid, complete in signed if not complete} == {food, travel}
    [paid] = debts(test_cluster)
    assert paid["status"]["owed"] == 0
    recorded = {(r["spec"]["sequence"], r["spec"]["shard"]["uid"]) for r in test_cluster.receipts()}
    assert recorded == {(place, uid) for place, (uid, _) in enumerate(signed, start=1)}
    assert not any(r["spec"].get("finalizerRemoved") for r in test_cluster.receipts())
    test_cluster.until(lambda: not test_cluster.jobs(), "nothing of it runs any more")


def test_a_namespace_whose_store_does_not_answer_is_held_until_the_deadline_alone(
    test_cluster: TestCluster, figure: Figure
) -> None:
    operator = test_cluster.operator()
    soup_uid = uid_of(test_cluster.soup(unlearning={"deadlineSeconds": 6}))
    food = test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.kubelet.order(AWAY)

    test_cluster.admin.delete(NAMESPACES, None, test_cluster.studio)
    test_cluster.until(
        lambda: "after unlearning.deadlineSeconds" in waits_for(test_cluster),
        "the Soup says until when it is held",
    )
    took_s = test_cluster.until(
        lambda: test_cluster.mirror.get(NAMESPACES, "", test_cluster.studio) is None,
        "the namespace is gone",
        60,
    )
    figure("seconds until a namespace whose store is away is gone", took_s)
    [owed] = debts(test_cluster)
    operator.kill()
    test_cluster.kubelet.forget_orders()
    # Another process does not know the namespace any more.
    test_cluster.operator("second")
    test_cluster.until(lambda: is_paid(test_cluster), "the debt is paid", 120)

    assert owed["spec"]["reason"] == "NamespaceEnded"
    assert [shard["uid"] for shard in owed["spec"]["shards"]] == [food]
    assert chain(test_cluster, soup_uid) == [(food, True)]
    assert not test_cluster.jobs()


def waits_for(test_cluster: TestCluster) -> str:
    message: str = test_cluster.condition("soup", "Ready", SOUPS)["message"]
    return message
