"""What we describe, as a real API server takes it: strictly, and at the `restricted` level."""

import json

import pytest
from devcluster.controlplane import ControlPlane
from kubernetes.client import Configuration
from tests.cluster.shapes import (
    LINEAGE,
    NAME,
    SOUP,
    Json,
    a_merge,
    a_purge,
    a_signing,
    a_training,
    an_evaluation,
    servers,
    settings,
)

from stockpot.api.runspec import ObjectRef, RunSpec, shards_of_spec
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.errors import Forbidden
from stockpot.cluster.apiserver.labels import selector_of
from stockpot.cluster.apiserver.resources import DEPLOYMENTS, JOBS, PODS, SERVICES, Resource
from stockpot.cluster.chart import permissions
from stockpot.cluster.chart.permissions import RbacRule
from stockpot.cluster.manifests.deployment import deployment_of, service_of
from stockpot.cluster.manifests.drift import is_applied
from stockpot.cluster.manifests.job_status import run_of
from stockpot.cluster.manifests.jobs import job_of
from stockpot.core.recipe import ShardUID
from stockpot.core.runs import Run, RunName

ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")

EVERY_RUN = (a_training(), a_merge(), an_evaluation(), a_purge(), a_signing())
RESOURCES = {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "2e9"}}
MINE = {
    "pods": {
        "env": [{"name": "EMPTY", "value": ""}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"gpu": "yes"},
        "resources": {"serve": RESOURCES},
    }
}


def moved(spec: RunSpec, namespace: str) -> RunSpec:
    soup = spec.soup.model_copy(update={"namespace": namespace})
    return spec.model_copy(update={"soup": soup})


def a_home(namespace: str) -> dict[str, object]:
    return {"release": {"name": "stockpot", "namespace": namespace}}


@pytest.mark.parametrize("spec", EVERY_RUN, ids=lambda spec: spec.verb)
def test_every_job_is_taken_and_read_as_the_run_that_it_was(
    client: Client, namespace: str, spec: RunSpec
) -> None:
    desired = job_of(
        RunName(spec.name), LINEAGE, moved(spec, namespace), settings(**a_home(namespace))
    )

    live = client.create(JOBS, desired)

    about = frozenset(map(ShardUID, shards_of_spec(spec.model_dump(mode="json", by_alias=True))))
    assert run_of(live, []) == Run(RunName(spec.name), spec.kind, LINEAGE, about=about)
    assert is_applied(live, desired)
    listed = client.list(JOBS, namespace, label_selector=selector_of(SOUP.uid, spec.verb)).items
    assert [job["metadata"]["name"] for job in listed] == [desired["metadata"]["name"]]


@pytest.mark.parametrize("spec", [*EVERY_RUN, servers()], ids=lambda spec: spec.verb)
def test_every_pod_is_admitted_at_the_restricted_level(
    client: Client, namespace: str, spec: RunSpec
) -> None:
    desired = settings(**a_home(namespace))
    for account in ("stockpot-workload", "stockpot-unlearn"):
        client.create(ACCOUNTS, {"metadata": {"name": account, "namespace": namespace}})
    spec = moved(spec, namespace)
    owner = (
        deployment_of(spec.soup, spec, 1, desired)
        if spec.verb == "serve"
        else job_of(NAME, LINEAGE, spec, desired)
    )
    template = owner["spec"]["template"]
    metadata = {**template["metadata"], "name": "pod", "namespace": namespace}

    pod = client.create(PODS, {"metadata": metadata, "spec": template["spec"]})

    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_namespace_at_that_level_does_not_take_everything(client: Client, namespace: str) -> None:
    client.create(ACCOUNTS, {"metadata": {"name": "default", "namespace": namespace}})
    container = {"name": "c", "image": "i", "securityContext": {"privileged": True}}
    pod = {
        "metadata": {"name": "bad", "namespace": namespace},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }

    with pytest.raises(Forbidden, match="violates PodSecurity"):
        client.create(PODS, pod)


def here(namespace: str) -> ObjectRef:
    return SOUP.model_copy(update={"namespace": namespace})


def test_servers_that_were_applied_need_no_second_write(client: Client, namespace: str) -> None:
    desired = deployment_of(here(namespace), servers(), 2, settings(**MINE))
    address = service_of(here(namespace), servers())

    live, live_address = client.apply(DEPLOYMENTS, desired), client.apply(SERVICES, address)

    assert is_applied(live, desired)
    assert is_applied(live_address, address)
    assert client.apply(DEPLOYMENTS, desired)["metadata"] == live["metadata"]
    assert client.apply(SERVICES, address)["metadata"] == live_address["metadata"]


IMAGE = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mine"}]
REPLICAS = [{"op": "replace", "path": "/spec/replicas", "value": 7}]
PROBE = [{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}]
TOLERATIONS = [{"op": "remove", "path": "/spec/template/spec/tolerations"}]
LABEL = [{"op": "remove", "path": "/metadata/labels/stockpot.dev~1soup"}]


@pytest.mark.parametrize("edit", [IMAGE, REPLICAS, PROBE, TOLERATIONS, LABEL])
def test_a_deployment_that_was_edited_by_hand_is_found_and_taken_back(
    client: Client, cluster: ControlPlane, namespace: str, edit: list[Json]
) -> None:
    desired = deployment_of(here(namespace), servers(), 2, settings(**MINE))
    name = desired["metadata"]["name"]
    client.apply(DEPLOYMENTS, desired)
    path = f"{DEPLOYMENTS.path(namespace, name)}?fieldManager=kubectl-edit"

    status, _ = cluster.api.request(
        "PATCH", path, json.dumps(edit).encode(), "application/json-patch+json"
    )
    edited = client.get(DEPLOYMENTS, namespace, name)
    taken_back = client.apply(DEPLOYMENTS, desired)

    assert status == 200
    assert not is_applied(edited, desired)
    assert is_applied(taken_back, desired)


def test_what_somebody_adds_beside_what_we_tell_is_left_alone(
    client: Client, cluster: ControlPlane, namespace: str
) -> None:
    desired = deployment_of(here(namespace), servers(), 2, settings())
    name = desired["metadata"]["name"]
    client.apply(DEPLOYMENTS, desired)
    extra = [
        {"op": "add", "path": "/metadata/labels/team", "value": "x"},
        {
            "op": "add",
            "path": "/spec/template/spec/containers/-",
            "value": {"name": "proxy", "image": "mesh"},
        },
    ]
    path = f"{DEPLOYMENTS.path(namespace, name)}?fieldManager=mesh"
    status, _ = cluster.api.request(
        "PATCH", path, json.dumps(extra).encode(), "application/json-patch+json"
    )

    live = client.get(DEPLOYMENTS, namespace, name)

    assert status == 200
    assert is_applied(live, desired)
    assert client.apply(DEPLOYMENTS, desired)["metadata"]["generation"] == 2


def test_the_service_of_a_soup_made_anew_goes_over_to_it(client: Client, namespace: str) -> None:
    client.apply(SERVICES, service_of(here(namespace), servers()))
    later = here(namespace).model_copy(update={"uid": "99999999-0000-4000-8000-000000000000"})

    live = client.apply(SERVICES, service_of(later, servers()))

    assert [owner["uid"] for owner in live["metadata"]["ownerReferences"]] == [later.uid]
    assert live["spec"]["selector"]["stockpot.dev/soup-uid"] == later.uid


# ----------------------------------------------------------------------------- permissions


def with_role(
    client: Client, cluster: ControlPlane, namespace: str, rules: tuple[RbacRule, ...]
) -> Client:
    """Return a client that has only these permissions."""
    about = {"name": "operator", "namespace": namespace}
    client.create(ACCOUNTS, {"metadata": about})
    desired = [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        for rule in rules
    ]
    client.create(ROLES, {"metadata": about, "rules": desired})
    role = {"apiGroup": ROLES.group, "kind": "Role", "name": "operator"}
    subject = {"kind": "ServiceAccount", **about}
    client.create(BINDINGS, {"metadata": about, "roleRef": role, "subjects": [subject]})
    status, answer = cluster.api.request(
        "POST", f"{ACCOUNTS.path(namespace, 'operator')}/token", b'{"spec": {}}', "application/json"
    )
    assert status == 201, answer
    configuration = Configuration(host=cluster.url, ssl_ca_cert=str(cluster.ca))
    configuration.api_key["BearerToken"] = f"Bearer {json.loads(answer)['status']['token']}"
    return Client(configuration)


def test_the_operator_reads_no_secrets_and_no_config_maps(
    client: Client, cluster: ControlPlane, namespace: str
) -> None:
    operator = with_role(client, cluster, namespace, permissions.IN_WORKLOAD_NAMESPACE)

    for resource in (SECRETS, CONFIG_MAPS):
        with pytest.raises(Forbidden, match=f"did not list {resource.plural}"):
            operator.list(resource, namespace)


def test_the_operators_role_is_enough_for_servers_and_runs(
    client: Client, cluster: ControlPlane, namespace: str
) -> None:
    operator = with_role(client, cluster, namespace, permissions.IN_WORKLOAD_NAMESPACE)
    desired = deployment_of(here(namespace), servers(), 1, settings())
    job = job_of(NAME, LINEAGE, moved(a_training(), namespace), settings())

    operator.apply(DEPLOYMENTS, desired)
    operator.apply(SERVICES, service_of(here(namespace), servers()))
    operator.apply(DEPLOYMENTS, desired)
    operator.create(JOBS, job)
    operator.delete(JOBS, namespace, job["metadata"]["name"])

    assert operator.list(PODS, namespace).items == ()


def test_nothing_is_allowed_wholesale() -> None:
    every = (
        *permissions.IN_WORKLOAD_NAMESPACE,
        *permissions.IN_RELEASE_NAMESPACE,
        *permissions.IN_CLUSTER,
    )

    assert not [rule for rule in every if "*" in (rule.group, rule.resource, *rule.verbs)]
    assert not {"secrets", "configmaps"} & {rule.resource for rule in every}
