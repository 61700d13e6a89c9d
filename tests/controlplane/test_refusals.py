"""Where an operator cannot work at all it says why, touches nothing, and works once it can."""

import copy

from tests.controlplane.admin import Admin, Mirror
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, LEASES, SOUPS

DEFINITION = "datashards.stockpot.dev"


def says(operator: Operator, words: str) -> bool:
    return any(words in line["message"] for line in operator.log_lines())


def test_the_second_of_two_releases_in_one_namespace_refuses_and_says_so(
    test_cluster: TestCluster, admin: Admin, mirror: Mirror
) -> None:
    test_cluster.operator("first")
    test_cluster.until(lambda: test_cluster.get("stockpot-scope", LEASES), "the first works here")
    other = TestCluster(admin, mirror, test_cluster.folder)
    other.folder = test_cluster.folder / "other"
    other.folder.mkdir()
    other.build()
    other.bind(
        test_cluster.studio, "ClusterRole", f"workload-{other.release}", "operator-of-another"
    )
    try:
        second = other.operator(
            "second",
            workloadNamespaces=[test_cluster.studio],
            release={
                "name": "other",
                "namespace": other.release,
                "binding": "operator-of-another",
            },
        )
        release, namespace = f"{test_cluster.release}/stockpot", test_cluster.studio
        taken = f"the release {release} already works in the namespace {namespace}"

        test_cluster.until(lambda: says(second, taken), "the second says so")
        test_cluster.soup()
        test_cluster.shard("food")
        test_cluster.learnt("food")

        assert not says(second, "a round")
        [refusal] = [line for line in second.log_lines() if taken in line["message"]]
        assert "helm uninstall stockpot" in refusal["help"]
    finally:
        other.tear_down()


def test_an_operator_that_is_newer_than_its_kinds_waits_for_them(
    test_cluster: TestCluster, admin: Admin
) -> None:
    live = admin.get(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION)
    assert live
    older = copy.deepcopy(live["spec"]["versions"])
    del older[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["inclusion"]
    admin.merge(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION, {"spec": {"versions": older}})
    try:
        operator = test_cluster.operator()
        lacks = f"{DEFINITION} is older than the operator: it lacks spec.inclusion"
        test_cluster.until(lambda: says(operator, lacks), "it says what is missing")
    finally:
        spec = {"spec": {"versions": live["spec"]["versions"]}}
        admin.merge(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION, spec)
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.learnt("food")

    assert len([line for line in operator.log_lines() if lacks in line["message"]]) == 1


def test_a_pod_that_fits_nowhere_says_which_resource_is_short(test_cluster: TestCluster) -> None:
    pods = {
        "nodeSelector": {"kubernetes.io/hostname": test_cluster.kubelet.node},
        "tolerations": [{"operator": "Exists"}],
        "resources": {"train": {"requests": {"cpu": "100", "memory": "1Gi"}}},
    }
    test_cluster.operator(pods=pods)
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.until(lambda: test_cluster.is_so("food", "Stalled"), "it says so")

    condition = test_cluster.condition("food", "Ready")
    assert condition["reason"] == "Unschedulable"
    assert "no node has room for the pod, which needs 100 cpu" in condition["message"]
    assert "lower pods.resources.train" in condition["message"]


def test_a_node_that_is_gone_is_named_and_what_ran_there_counts_as_running(
    test_cluster: TestCluster,
) -> None:
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.until(lambda: test_cluster.progress("food") == 50, "it trains")

    test_cluster.kubelet.is_lost = True
    test_cluster.until(
        lambda: test_cluster.condition("food", "Ready")["reason"] == "NodeLost", "it says so", 60
    )

    message = test_cluster.condition("food", "Ready")["message"]
    assert f"the node {test_cluster.kubelet.node} does not answer" in message
    assert f"kubectl delete node {test_cluster.kubelet.node}" in message
    assert len(test_cluster.posted("train")) == 1
    assert test_cluster.get("soup", SOUPS)
