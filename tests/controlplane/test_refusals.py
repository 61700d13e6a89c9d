"""Where an operator cannot work at all it says why, touches nothing, and works once it can."""

import copy

from tests.controlplane.admin import Admin, Mirror
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Operator, Town

from stockpot.cluster.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, LEASES, SOUPS

DEFINITION = "datashards.stockpot.dev"


def says(operator: Operator, words: str) -> bool:
    return any(words in line["message"] for line in operator.log_lines())


def test_the_second_of_two_releases_in_one_namespace_refuses_and_says_so(
    town: Town, admin: Admin, mirror: Mirror
) -> None:
    town.operator("first")
    town.until(lambda: town.get("stockpot-scope", LEASES), "the first works here")
    other = Town(admin, mirror, town.folder)
    other.folder = town.folder / "other"
    other.folder.mkdir()
    other.build()
    other.bind(town.studio, "ClusterRole", f"workload-{other.release}", "operator-of-another")
    try:
        second = other.operator(
            "second",
            workloadNamespaces=[town.studio],
            release={
                "name": "other",
                "namespace": other.release,
                "binding": "operator-of-another",
            },
        )
        taken = f"the release {town.release}/stockpot already works in the namespace {town.studio}"

        town.until(lambda: says(second, taken), "the second says so")
        town.soup()
        town.shard("food")
        town.learnt("food")

        assert not says(second, "a round")
        [refusal] = [line for line in second.log_lines() if taken in line["message"]]
        assert "helm uninstall stockpot" in refusal["help"]
    finally:
        other.tear_down()


def test_an_operator_that_is_newer_than_its_kinds_waits_for_them(town: Town, admin: Admin) -> None:
    live = admin.get(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION)
    assert live
    older = copy.deepcopy(live["spec"]["versions"])
    del older[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["inclusion"]
    admin.merge(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION, {"spec": {"versions": older}})
    try:
        operator = town.operator()
        lacks = f"{DEFINITION} is older than the operator: it lacks spec.inclusion"
        town.until(lambda: says(operator, lacks), "it says what is missing")
    finally:
        spec = {"spec": {"versions": live["spec"]["versions"]}}
        admin.merge(CUSTOM_RESOURCE_DEFINITIONS, None, DEFINITION, spec)
    town.soup()
    town.shard("food")

    town.learnt("food")

    assert len([line for line in operator.log_lines() if lacks in line["message"]]) == 1


def test_a_pod_that_fits_nowhere_says_which_resource_is_short(town: Town) -> None:
    pods = {
        "nodeSelector": {"kubernetes.io/hostname": town.kubelet.node},
        "tolerations": [{"operator": "Exists"}],
        "resources": {"train": {"requests": {"cpu": "100", "memory": "1Gi"}}},
    }
    town.operator(pods=pods)
    town.soup()
    town.shard("food")

    town.until(lambda: town.is_so("food", "Stalled"), "it says so")

    condition = town.condition("food", "Ready")
    assert condition["reason"] == "Unschedulable"
    assert "no node has room for the pod, which needs 100 cpu" in condition["message"]
    assert "lower pods.resources.train" in condition["message"]


def test_a_node_that_is_gone_is_named_and_what_ran_there_counts_as_running(town: Town) -> None:
    town.kubelet.order(Order("train", hold=True))
    town.operator()
    town.soup()
    town.shard("food")
    town.until(lambda: town.progress("food") == 50, "it trains")

    town.kubelet.is_lost = True
    town.until(lambda: town.condition("food", "Ready")["reason"] == "NodeLost", "it says so", 60)

    message = town.condition("food", "Ready")["message"]
    assert f"the node {town.kubelet.node} does not answer" in message
    assert f"kubectl delete node {town.kubelet.node}" in message
    assert len(town.posted("train")) == 1
    assert town.get("soup", SOUPS)
