"""A namespace that is dropped from the settings is watched until what is in it is unlearned."""

import json

from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.objects import annotations_on
from stockpot.cluster.apiserver.pinned_namespaces import ANNOTATION, LEASE
from stockpot.cluster.apiserver.resources import DATA_SHARDS, LEASES, NAMESPACES, SOUPS


def pinned(test_cluster: TestCluster) -> list[str]:
    lease = test_cluster.mirror.get(LEASES, test_cluster.release, LEASE)
    names: list[str] = json.loads(annotations_on(lease)[ANNOTATION]) if lease else []
    return names


def has_logged(operator: Operator, text: str) -> bool:
    return any(text in line["message"] for line in operator.log_lines())


def test_a_dropped_namespace_is_watched_until_its_last_shard_is_unlearned(
    test_cluster: TestCluster,
) -> None:
    other = test_cluster.add_namespace()
    first = test_cluster.operator(workloadNamespaces=[test_cluster.studio, other.studio])
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.until(lambda: pinned(test_cluster) == [test_cluster.studio], "it is remembered")
    first.end()

    second = test_cluster.operator("second", workloadNamespaces=[other.studio])
    test_cluster.until(
        lambda: has_logged(second, "not in workloadNamespaces any more"), "the operator says so"
    )
    test_cluster.delete("food")
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: not test_cluster.all(SOUPS) and not test_cluster.all(DATA_SHARDS), "all are gone"
    )
    test_cluster.until(lambda: not pinned(test_cluster), "it is forgotten")
    receipts = test_cluster.receipts()
    second.end()

    third = test_cluster.operator("third", workloadNamespaces=[other.studio])
    test_cluster.until(lambda: test_cluster.leader() == "third", "another one leads")

    assert [receipt["spec"]["shard"]["name"] for receipt in receipts] == ["food"]
    assert not has_logged(third, "not in workloadNamespaces any more")


def test_a_dropped_namespace_that_is_deleted_goes_and_is_forgotten(
    test_cluster: TestCluster,
) -> None:
    other = test_cluster.add_namespace()
    first = test_cluster.operator(workloadNamespaces=[test_cluster.studio, other.studio])
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    first.end()
    second = test_cluster.operator("second", workloadNamespaces=[other.studio])
    test_cluster.until(lambda: has_logged(second, "leading"), "it leads")

    test_cluster.admin.delete(NAMESPACES, None, test_cluster.studio)
    test_cluster.until(
        lambda: test_cluster.mirror.get(NAMESPACES, "", test_cluster.studio) is None,
        "the namespace is gone",
    )

    test_cluster.until(lambda: not pinned(test_cluster), "it is forgotten")
