import copy

import pytest
from tests.cluster.shapes import SOUP, Json, servers, settings

from stockpot.cluster.manifests.deployment import deployment_of
from stockpot.cluster.manifests.drift import is_applied, quantity

RESOURCES = {"serve": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": 1e9}}}
TOLD = deployment_of(SOUP, servers(), 1, settings(pods={"resources": RESOURCES}))


def live() -> Json:
    """What the API server and others make of it."""
    one = copy.deepcopy(TOLD)
    one["metadata"] |= {"uid": "u", "resourceVersion": "9", "generation": 1}
    one["spec"]["progressDeadlineSeconds"] = 600
    pod = one["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["containers"][0]["resources"] = {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1G"},
    }
    pod["containers"][0]["readinessProbe"]["successThreshold"] = 1
    pod["containers"].append({"name": "proxy", "image": "mesh"})
    pod["volumes"].insert(0, {"name": "mesh", "emptyDir": {}})
    one["status"] = {"replicas": 1}
    return one


def test_defaults_and_what_others_add_are_as_told() -> None:
    assert is_applied(live(), TOLD)


def test_nothing_is_not_as_told() -> None:
    assert not is_applied(None, TOLD)


def edited_image(one: Json) -> None:
    one["spec"]["template"]["spec"]["containers"][0]["image"] = "mine"


def edited_replicas(one: Json) -> None:
    one["spec"]["replicas"] = 5


def removed_volume(one: Json) -> None:
    one["spec"]["template"]["spec"]["volumes"].pop()


def added_argument(one: Json) -> None:
    one["spec"]["template"]["spec"]["containers"][0]["args"].append("--fast")


def weakened_security(one: Json) -> None:
    del one["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]


def less_memory(one: Json) -> None:
    container = one["spec"]["template"]["spec"]["containers"][0]
    container["resources"]["limits"]["memory"] = "1M"


def removed_label(one: Json) -> None:
    del one["metadata"]["labels"]["stockpot.dev/soup"]


def changed_env(one: Json) -> None:
    one["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "/root"


EDITS = (
    edited_image,
    edited_replicas,
    removed_volume,
    added_argument,
    weakened_security,
    less_memory,
    removed_label,
    changed_env,
)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_somebody_edited_by_hand_is_found(edit: object) -> None:
    one = live()
    assert callable(edit)

    edit(one)

    assert not is_applied(one, TOLD)


def test_what_is_told_empty_may_be_missing() -> None:
    assert is_applied({}, {"resources": {}, "env": [], "name": ""})
    assert not is_applied({}, {"replicas": 0})
    assert not is_applied({}, {"automountServiceAccountToken": False})


def test_true_is_not_one() -> None:
    assert not is_applied({"a": 1}, {"a": True})


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.5", "500m"), ("1Gi", "1024Mi"), (1, "1"), ("1e3", "1k"), ("100n", "0.1u"), ("", "")],
)
def test_amounts_are_compared_as_amounts(one: str, other: str) -> None:
    assert quantity(one) == quantity(other)


def test_what_is_no_amount_is_itself() -> None:
    assert quantity("lots") == "lots"
    assert quantity("Gi") == "Gi"
