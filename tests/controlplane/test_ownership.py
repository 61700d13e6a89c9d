"""The Deployment and the Service are ours: their fields are owned, and hand edits taken back."""

from tests.controlplane.town import Town

from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, SERVICES, SOUPS


def managers(thing: Json) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in thing["metadata"]["managedFields"]}


def test_a_deployment_and_a_service_that_were_edited_by_hand_are_taken_back(town: Town) -> None:
    town.operator()
    town.soup()
    town.shard("food")
    town.learnt("food")
    deployment = town.deployment()
    assert deployment
    name = deployment["metadata"]["name"]

    town.admin.merge(DEPLOYMENTS, town.studio, name, {"spec": {"replicas": 3}})
    town.admin.merge(SERVICES, town.studio, "soup", {"spec": {"selector": {"app": "mine"}}})

    def taken_back() -> bool:
        live, address = town.deployment(), town.get("soup", SERVICES)
        assert live
        assert address
        selector = address["spec"]["selector"]
        return live["spec"]["replicas"] == 1 and "stockpot.dev/soup-uid" in selector

    town.until(taken_back, "both are as they were told")
    town.until(lambda: town.is_so("soup", "Ready", SOUPS), "the soup is settled again")
    live = town.deployment()
    assert live
    assert ("stockpot", "Apply") in managers(live)


def test_what_somebody_adds_stays_and_is_no_reason_to_write(town: Town) -> None:
    town.operator()
    town.soup()
    town.shard("food")
    town.learnt("food")
    deployment = town.deployment()
    assert deployment
    name = deployment["metadata"]["name"]

    town.admin.merge(DEPLOYMENTS, town.studio, name, {"metadata": {"labels": {"team": "x"}}})
    town.shard("travel")
    town.learnt("food", "travel")

    live = town.deployment()
    assert live
    assert live["metadata"]["labels"]["team"] == "x"


def test_servers_are_scaled_as_kubectl_scale_asks(town: Town) -> None:
    town.operator()
    town.soup()
    food = town.shard("food")
    town.learnt("food")

    town.kubectl("scale", "soup", "soup", "--replicas=2")

    town.until(lambda: town.serving() == [{food}, {food}], "two servers answer with it")
    town.until(lambda: town.is_so("soup", "Ready", SOUPS), "the soup is settled")


def test_a_service_of_somebody_else_is_left_alone_and_named(town: Town) -> None:
    ports = [{"port": 80}]
    town.admin.create(
        SERVICES, town.studio, {"metadata": {"name": "soup"}, "spec": {"ports": ports}}
    )
    town.operator()
    town.soup()
    town.shard("food")

    town.until(
        lambda: town.condition("soup", "Stalled", SOUPS)["reason"] == "NameTaken", "it says so"
    )

    assert "kubectl delete service" in town.condition("soup", "Ready", SOUPS)["message"]
