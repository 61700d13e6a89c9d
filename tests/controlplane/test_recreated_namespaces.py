"""A namespace that is deleted and made again: another object, and perhaps another team's."""

import re

import pytest
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.api.v1alpha1.common import ADOPT_STORE
from stockpot.cluster.apiserver.objects import uid_of
from stockpot.cluster.apiserver.resources import NAMESPACES, SOUPS
from stockpot.store.keys import Keys
from stockpot.store.namespace_mark import NamespaceMark


@pytest.fixture
def operator(test_cluster: TestCluster) -> Operator:
    return test_cluster.operator()


@pytest.fixture
def former(test_cluster: TestCluster, operator: Operator) -> str:
    """UID of a namespace that had a soup and a shard, and is gone."""
    del operator
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    uid = namespace_uid(test_cluster)
    test_cluster.admin.delete(NAMESPACES, None, test_cluster.studio)
    test_cluster.until(
        lambda: test_cluster.mirror.get(NAMESPACES, "", test_cluster.studio) is None,
        "the namespace is gone",
    )
    return uid


def namespace_uid(test_cluster: TestCluster) -> str:
    namespace = test_cluster.admin.get(NAMESPACES, None, test_cluster.studio)
    assert namespace
    return uid_of(namespace)


def adopt(test_cluster: TestCluster, uid: str) -> None:
    annotation = {"metadata": {"annotations": {ADOPT_STORE: uid}}}
    test_cluster.admin.merge(NAMESPACES, None, test_cluster.studio, annotation)


def test_without_our_rolebinding_the_operator_says_that_it_is_missing(
    test_cluster: TestCluster, operator: Operator, former: str
) -> None:
    del former
    test_cluster.make_namespace(test_cluster.studio)
    test_cluster.account("stockpot-workload", test_cluster.studio)
    test_cluster.soup()
    test_cluster.until(lambda: refusals(operator), "the operator says so")
    refused = refusals(operator)

    test_cluster.bind(test_cluster.studio, "ClusterRole", f"workload-{test_cluster.release}")
    test_cluster.until(
        lambda: test_cluster.condition("soup", "Ready", SOUPS)["reason"], "it works there", 60
    )

    assert test_cluster.studio in refused[0]["message"]
    assert "the RoleBinding operator grants them" in refused[0]["help"]
    assert "helm upgrade the release" in refused[0]["help"]
    assert len(refusals(operator)) == 1, "it is said once"


def refusals(operator: Operator) -> list[dict[str, str]]:
    lines = operator.log_lines()
    return [line for line in lines if "has no rights in the namespace" in line["message"]]


def test_its_runs_are_refused_and_a_deletion_goes_on_until_an_admin_hands_over_the_prefix(
    test_cluster: TestCluster, former: str
) -> None:
    test_cluster.prepare_studio()
    soup_uid = uid_of(test_cluster.soup())
    bread = test_cluster.shard("bread")
    test_cluster.until(
        lambda: test_cluster.condition("bread", "Ready")["reason"] == "OtherNamespace",
        "the shard says so",
    )
    refused = test_cluster.condition("bread", "Ready")["message"]
    soup = test_cluster.condition("soup", "Ready", SOUPS)

    test_cluster.delete("bread")
    test_cluster.forgotten("bread")
    receipts = test_cluster.receipts()
    test_cluster.shard("crust")
    adopt(test_cluster, former)
    test_cluster.learnt("crust", within_s=60)

    store = test_cluster.kubelet.kitchen(soup_uid).store
    command = re.search(r"kubectl annotate namespace (\S+) (\S+)=(\S+)", refused)
    assert command
    assert command.groups() == (test_cluster.studio, ADOPT_STORE, former)
    assert soup["status"] == "False"
    assert test_cluster.posted("train")
    assert [receipt["spec"]["completeness"] for receipt in receipts] == ["Complete"]
    assert store.receipts == [(bread, True)]
    assert store.tombstones == {bread}
    mark = NamespaceMark.model_validate_json(
        test_cluster.kubelet.marks.get(Keys(test_cluster.studio).mark) or b""
    )
    assert mark == NamespaceMark(uid=namespace_uid(test_cluster), former=(former,))


def test_a_deletion_that_waits_for_a_refused_merge_says_what_to_do(
    test_cluster: TestCluster, operator: Operator
) -> None:
    """A store that was restored from a backup has the mark of its time."""
    del operator
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.shard("bread")
    test_cluster.learnt("food", "bread")
    mark = NamespaceMark(uid="uid-of-before").model_dump_json().encode()
    test_cluster.kubelet.marks.put(Keys(test_cluster.studio).mark, mark)

    test_cluster.delete("food")
    test_cluster.until(
        lambda: (
            f"{ADOPT_STORE}=uid-of-before"
            in test_cluster.condition("soup", "Ready", SOUPS)["message"]
        ),
        "the Soup says what to do",
    )
    adopt(test_cluster, "uid-of-before")
    test_cluster.forgotten("food", 60)

    assert [receipt["spec"]["shard"]["uid"] for receipt in test_cluster.receipts()] == [food]
