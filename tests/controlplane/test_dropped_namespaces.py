"""A namespace that is dropped from the settings is watched until what is in it is unlearned."""

import json

import pytest
from tests.controlplane.conftest import Figure
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.election import NAMESPACE_LEASE
from stockpot.cluster.apiserver.objects import annotations_on
from stockpot.cluster.apiserver.pinned_namespaces import ANNOTATION, LEASE
from stockpot.cluster.apiserver.resources import DATA_SHARDS, LEASES, NAMESPACES, SOUPS


def pinned(test_cluster: TestCluster) -> list[str]:
    lease = test_cluster.mirror.get(LEASES, test_cluster.release, LEASE)
    names: list[str] = json.loads(annotations_on(lease)[ANNOTATION]) if lease else []
    return names


def has_logged(operator: Operator, text: str) -> bool:
    return any(text in line["message"] for line in operator.log_lines())


@pytest.fixture
def other(test_cluster: TestCluster) -> TestCluster:
    """The namespace that stays listed."""
    return test_cluster.add_namespace()


@pytest.fixture
def dropped(test_cluster: TestCluster, other: TestCluster) -> Operator:
    """An operator whose settings do not list the first namespace, where a shard is learnt."""
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
    return second


def test_a_dropped_namespace_is_watched_until_its_last_shard_is_unlearned(
    test_cluster: TestCluster, other: TestCluster, dropped: Operator
) -> None:
    test_cluster.delete("food")
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: not test_cluster.all(SOUPS) and not test_cluster.all(DATA_SHARDS), "all are gone"
    )
    test_cluster.until(lambda: not pinned(test_cluster), "it is forgotten")
    test_cluster.until(lambda: not holder(test_cluster), "another release may have it at once")
    receipts = test_cluster.receipts()
    dropped.end()

    third = test_cluster.operator("third", workloadNamespaces=[other.studio])
    test_cluster.until(lambda: test_cluster.leader() == "third", "another one leads")

    assert [receipt["spec"]["shard"]["name"] for receipt in receipts] == ["food"]
    assert not has_logged(third, "not in workloadNamespaces any more")


def test_a_dropped_namespace_that_is_deleted_goes_and_its_watch_ends(
    test_cluster: TestCluster, dropped: Operator, figure: Figure
) -> None:
    test_cluster.until(lambda: has_logged(dropped, "leading"), "it leads")

    test_cluster.admin.delete(NAMESPACES, None, test_cluster.studio)
    test_cluster.until(
        lambda: test_cluster.mirror.get(NAMESPACES, "", test_cluster.studio) is None,
        "the namespace is gone",
    )

    test_cluster.until(lambda: not pinned(test_cluster), "it is forgotten")
    # The API server would end the watch after five minutes.
    took_s = test_cluster.until(
        lambda: has_logged(dropped, "is not watched any more"), "it is not watched"
    )
    figure("seconds until a dropped namespace that is gone is not watched", took_s)


def holder(test_cluster: TestCluster) -> str:
    lease = test_cluster.mirror.get(LEASES, test_cluster.studio, NAMESPACE_LEASE)
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")
