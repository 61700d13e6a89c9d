"""What people and programs wait for, on a real API server: Ready says what is served."""

import json

from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.objects import Json, name_of
from stockpot.cluster.apiserver.resources import DATA_SHARDS, POD_DISRUPTION_BUDGETS, PODS, SOUPS


def transitions(test_cluster: TestCluster, kind: str = "Ready") -> list[tuple[str, str]]:
    """Every status and reason of the Soup's condition, in order."""
    changes: list[tuple[str, str]] = []
    for entry in test_cluster.mirror.happened(SOUPS, [test_cluster.studio]):
        for condition in entry.thing.get("status", {}).get("conditions", ()):
            state = (condition["status"], condition["reason"])
            if condition["type"] == kind and changes[-1:] != [state]:
                changes.append(state)
    return changes


def state_of(test_cluster: TestCluster, name: str = "soup") -> str:
    thing = test_cluster.get(name, SOUPS if name == "soup" else DATA_SHARDS) or {}
    return str(thing.get("status", {}).get("state", ""))


def test_a_soup_is_not_ready_before_its_shards_are_served(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.soup()
    for name in ("bread", "food", "travel"):
        test_cluster.shard(name)
    test_cluster.until(lambda: state_of(test_cluster) == "Training", "they are trained")
    test_cluster.kubectl("wait", "soup/soup", "--for=condition=Reconciling", "--timeout=5s")
    test_cluster.kubectl("wait", "soup/soup", "--for=condition=Ready", "--timeout=3s", ok=False)

    test_cluster.kubelet.forget_orders()

    test_cluster.kubectl("wait", "soup/soup", "--for=condition=Ready", "--timeout=60s")
    [served] = test_cluster.serving()
    assert len(served or ()) == 3
    line = test_cluster.kubectl("get", "soup", "soup", "--no-headers").split()
    assert line[:3] == ["soup", "Serving", "True"]
    assert test_cluster.kubectl("get", "shard", "food", "--no-headers").split()[2] == "Included"


def test_a_soup_without_shards_says_so_and_is_not_ready(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()

    test_cluster.until(
        lambda: test_cluster.condition("soup", "Ready", SOUPS)["reason"] == "NoShards",
        "it says that it has none",
    )

    assert state_of(test_cluster) == "Pending"
    assert test_cluster.is_so("soup", "Serving", SOUPS)
    assert ("True", "Settled") not in transitions(test_cluster)


def test_a_new_weight_is_not_ready_before_it_is_served(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    for name in ("food", "travel"):
        test_cluster.shard(name)
    test_cluster.learnt("food", "travel")
    test_cluster.kubelet.order(Order("merge", hold=True))

    weight = {"spec": {"weight": "3"}}
    test_cluster.admin.merge(DATA_SHARDS, test_cluster.studio, "food", weight)

    for name, resource in (("food", DATA_SHARDS), ("soup", SOUPS)):
        test_cluster.until(
            lambda name=name, resource=resource: (
                test_cluster.condition(name, "Ready", resource)["reason"] == "Merging"
            ),
            f"{name} is not Ready",
        )
    assert state_of(test_cluster, "food") == "Included"
    test_cluster.kubelet.forget_orders()
    test_cluster.learnt("food", "travel")


def test_servers_whose_new_image_cannot_be_pulled_stall_the_soup_and_go_on_serving(
    test_cluster: TestCluster,
) -> None:
    operator = test_cluster.operator()
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.learnt("food")
    message = 'Failed to pull image "example.org/trainer:2": manifest unknown'
    test_cluster.kubelet.order(
        Order("serve", waiting="ErrImagePull", message=message, event="Failed")
    )

    operator.end()
    images = {"workload": "example.org/trainer:2", "unlearn": "example.org/stockpot:1"}
    test_cluster.operator("upgraded", images=images)

    test_cluster.until(
        lambda: test_cluster.condition("soup", "Stalled", SOUPS)["reason"] == "ImageUnavailable",
        "the Soup says so",
    )
    assert not test_cluster.is_so("soup", "Ready", SOUPS)
    assert test_cluster.serving() == [{food}]
    events = ("get", "events", "--field-selector=reason=ImageUnavailable,type=Warning")
    test_cluster.until(
        lambda: "example.org/trainer:2 cannot be pulled" in test_cluster.kubectl(*events),
        "an Event says so",
    )


def test_scaling_does_not_touch_ready(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    before = transitions(test_cluster)

    test_cluster.kubectl("scale", "soup", "soup", "--replicas=3")
    test_cluster.until(lambda: len(test_cluster.serving()) == 3, "three servers run")
    test_cluster.until(lambda: None not in test_cluster.serving(), "all of them serve")
    test_cluster.kubectl("scale", "soup", "soup", "--replicas=1")
    test_cluster.until(lambda: len(test_cluster.serving()) == 1, "one is left")

    assert transitions(test_cluster) == before


def test_an_autoscaler_counts_the_servers_alone(test_cluster: TestCluster) -> None:
    test_cluster.operator()
    test_cluster.soup()
    test_cluster.shard("food")
    test_cluster.learnt("food")
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.shard("travel")
    test_cluster.until(lambda: test_cluster.jobs("train"), "a training runs beside the server")

    path = SOUPS.path(test_cluster.studio, "soup", "scale")
    selector = test_cluster.admin.ask("GET", path)["status"]["selector"]
    matched = test_cluster.kubectl("get", "pods", "-l", selector, "-o", "name").split()

    [server] = [pod for pod in pods_of(test_cluster) if "-serve-" in name_of(pod)]
    assert matched == [f"pod/{name_of(server)}"]
    [budget] = test_cluster.admin.list(POD_DISRUPTION_BUDGETS, test_cluster.studio)
    assert budget["spec"]["maxUnavailable"] == 1
    chosen = budget["spec"]["selector"]["matchLabels"].items()
    assert chosen <= server["metadata"]["labels"].items()


def pods_of(test_cluster: TestCluster) -> list[Json]:
    return test_cluster.admin.list(PODS, test_cluster.studio)


def test_a_soup_that_is_deleted_before_its_shards_serves_until_they_are_gone(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    test_cluster.soup()
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")

    test_cluster.kubectl("delete", "soup", "soup", "--wait=false")
    test_cluster.until(
        lambda: "its DataShards food, travel are not" in ready_message(test_cluster),
        "it says what it waits for",
    )
    assert state_of(test_cluster) == "Deleting"
    assert test_cluster.serving() == [{food, travel}]

    test_cluster.delete("food")
    test_cluster.forgotten("food")
    assert test_cluster.serving() == [{travel}]
    test_cluster.delete("travel")
    test_cluster.until(lambda: test_cluster.get("soup", SOUPS) is None, "the Soup is gone")
    assert [receipt["spec"]["completeness"] for receipt in test_cluster.receipts()] == [
        "Complete",
        "Complete",
    ]


def ready_message(test_cluster: TestCluster) -> str:
    return str(test_cluster.condition("soup", "Ready", SOUPS)["message"])


def test_what_a_soup_names_and_nobody_has_is_said_before_it_has_a_shard(
    test_cluster: TestCluster,
) -> None:
    test_cluster.operator()
    with_option = {"name": "FineTune", "options": {"rank": "4"}}
    for name, spec, words in (
        ("method", {"training": {"method": {"name": "Dreambooth"}}}, "Dreambooth"),
        ("evaluator", {"evaluation": {"suite": [{"name": "heldout-loss"}]}}, "heldout_loss"),
        ("option", {"training": {"method": with_option}}, "rank"),
        ("size", {"training": {"resolution": 60}}, "a resolution of 60 pixels is no multiple of 8"),
    ):
        test_cluster.soup(name, **spec)
        test_cluster.until(
            lambda name=name: test_cluster.is_so(name, "Stalled", SOUPS), f"{name} is Stalled"
        )
        message = test_cluster.condition(name, "Stalled", SOUPS)["message"]
        assert words in json.dumps(message), name
        assert "; help: " in message, name
