"""The Deployment and the Service are ours: their fields are owned, and hand edits taken back."""

from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.objects import Json, name_of
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, EVENTS, SERVICES, SOUPS


def managers(thing: Json) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in thing["metadata"]["managedFields"]}


def test_a_deployment_and_a_service_that_were_edited_by_hand_are_taken_back(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    deployment = test_cluster.deployment()
    assert deployment
    name = deployment["metadata"]["name"]

    test_cluster.admin.merge(DEPLOYMENTS, test_cluster.studio, name, {"spec": {"replicas": 3}})
    test_cluster.admin.merge(
        SERVICES, test_cluster.studio, "soup", {"spec": {"selector": {"app": "mine"}}}
    )

    def taken_back() -> bool:
        live, address = test_cluster.deployment(), test_cluster.get("soup", SERVICES)
        assert live
        assert address
        selector = address["spec"]["selector"]
        return live["spec"]["replicas"] == 1 and "stockpot.dev/soup-uid" in selector

    test_cluster.until(taken_back, "both are as they were told")
    test_cluster.until(
        lambda: test_cluster.is_so("soup", "Ready", SOUPS), "the soup is settled again"
    )
    live = test_cluster.deployment()
    assert live
    assert ("stockpot", "Apply") in managers(live)


def test_what_somebody_adds_stays_and_is_no_reason_to_write(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    deployment = test_cluster.deployment()
    assert deployment
    name = deployment["metadata"]["name"]

    test_cluster.admin.merge(
        DEPLOYMENTS, test_cluster.studio, name, {"metadata": {"labels": {"team": "x"}}}
    )
    test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")

    live = test_cluster.deployment()
    assert live
    assert live["metadata"]["labels"]["team"] == "x"


def test_servers_are_scaled_as_kubectl_scale_asks(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.learnt("food")

    test_cluster.kubectl("scale", "soup", "soup", "--replicas=2")

    test_cluster.until(
        lambda: test_cluster.serving() == [{food}, {food}], "two servers answer with it"
    )
    test_cluster.until(lambda: test_cluster.is_so("soup", "Ready", SOUPS), "the soup is settled")


def replicas(test_cluster: TestCluster) -> int:
    live = test_cluster.deployment()
    assert live
    return int(live["spec"]["replicas"])


def test_a_deployment_that_others_scale_is_set_back_and_that_is_said_once(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    live = test_cluster.deployment()
    assert live

    for _ in range(2):  # As an autoscaler does that names the Deployment.
        test_cluster.kubectl("scale", "deployment", name_of(live), "--replicas=3")
        test_cluster.until(lambda: replicas(test_cluster) == 1, "it is set back")

    [event] = [
        event
        for event in test_cluster.admin.list(EVENTS, test_cluster.studio)
        if event["reason"] == "ScaledBack"
    ]
    assert event["type"] == "Warning"
    assert event["involvedObject"]["kind"] == "Soup"
    assert "was scaled to 3, and was set back to 1" in event["message"]
    assert "kubectl scale soup/soup -n" in event["message"]


def test_a_service_of_somebody_else_is_left_alone_and_named(test_cluster: TestCluster) -> None:
    ports = [{"port": 80}]
    test_cluster.admin.create(
        SERVICES, test_cluster.studio, {"metadata": {"name": "soup"}, "spec": {"ports": ports}}
    )
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")

    test_cluster.until(
        lambda: test_cluster.condition("soup", "Stalled", SOUPS)["reason"] == "NameTaken",
        "it says so",
    )

    assert "kubectl delete service" in test_cluster.condition("soup", "Ready", SOUPS)["message"]
