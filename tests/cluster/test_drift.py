"""Drift: what the API server adds to a Deployment is none, what a person edits is."""

import copy

import pytest
from tests.cluster.shapes import SOUP, Json, servers, settings

from stockpot.cluster.manifests.deployment import deployment_of
from stockpot.cluster.manifests.drift import is_applied, quantity

RESOURCES = {"serve": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": 1e9}}}
DESIRED = deployment_of(SOUP, servers(), 1, settings(pods={"resources": RESOURCES}))


def live() -> Json:
    """What the API server and others make of it."""
    deployment = copy.deepcopy(DESIRED)
    deployment["metadata"] |= {"uid": "u", "resourceVersion": "9", "generation": 1}
    deployment["spec"]["progressDeadlineSeconds"] = 600
    pod = deployment["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["containers"][0]["resources"] = {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1G"},
    }
    pod["containers"][0]["readinessProbe"]["successThreshold"] = 1
    pod["containers"].append({"name": "proxy", "image": "mesh"})
    pod["volumes"].insert(0, {"name": "mesh", "emptyDir": {}})
    deployment["status"] = {"replicas": 1}
    return deployment


def test_defaults_and_what_others_add_are_as_told() -> None:
    assert is_applied(live(), DESIRED)


def test_nothing_is_not_as_told() -> None:
    assert not is_applied(None, DESIRED)


def edited_image(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mine"


def edited_replicas(deployment: Json) -> None:
    deployment["spec"]["replicas"] = 5


def removed_volume(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["volumes"].pop()


def added_argument(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["args"].append("--fast")


def weakened_security(deployment: Json) -> None:
    del deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]


def less_memory(deployment: Json) -> None:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["resources"]["limits"]["memory"] = "1M"


def removed_label(deployment: Json) -> None:
    del deployment["metadata"]["labels"]["stockpot.dev/soup"]


def changed_env(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "/root"


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
    deployment = live()
    assert callable(edit)

    edit(deployment)

    assert not is_applied(deployment, DESIRED)


def test_what_is_told_empty_may_be_missing() -> None:
    assert is_applied({}, {"resources": {}, "env": [], "name": ""})
    assert not is_applied({}, {"replicas": 0})
    assert not is_applied({}, {"automountServiceAccountToken": False})


def test_true_is_not_one() -> None:
    assert not is_applied({"a": 1}, {"a": True})


@pytest.mark.parametrize(
    ("deployment", "equal"),
    [("0.5", "500m"), ("1Gi", "1024Mi"), (1, "1"), ("1e3", "1k"), ("100n", "0.1u"), ("", "")],
)
def test_amounts_are_compared_as_amounts(deployment: str, equal: str) -> None:
    assert quantity(deployment) == quantity(equal)


def test_what_is_no_amount_is_itself() -> None:
    assert quantity("lots") == "lots"
    assert quantity("Gi") == "Gi"
