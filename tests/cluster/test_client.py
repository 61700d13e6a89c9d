"""The client against a real API server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from devcluster.controlplane import ControlPlane
from kubernetes.client import Configuration
from tests.cluster.shapes import Json

from stockpot.cluster.apiserver import client as client_module
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect, read_configuration
from stockpot.cluster.apiserver.errors import (
    AlreadyExists,
    ApiRequest,
    Conflict,
    Forbidden,
    Invalid,
    NamespaceEnding,
    NotFound,
    OverQuota,
    Unauthorized,
    Unavailable,
    error_of,
)
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    LEASES,
    NAMESPACES,
    SERVICES,
    SOUPS,
    Resource,
)
from stockpot.errors import Refused

SECRETS = Resource("", "v1", "secrets", "Secret")


def a_lease(namespace: str, name: str = "one", holder: str = "a", **labels: str) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10},
    }


def a_shard(namespace: str) -> Json:
    return {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": "DataShard",
        "metadata": {"name": "food", "namespace": namespace},
        "spec": {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": "data/food/"}}},
    }


# --------------------------------------------------------------------- reading and writing


def test_what_was_created_can_be_read(client: Client, namespace: str) -> None:
    made = client.create(LEASES, a_lease(namespace))

    assert client.get(LEASES, namespace, "one") == made
    assert client.find(LEASES, namespace, "one") == made


def test_what_is_not_there_is_not_found(client: Client, namespace: str) -> None:
    assert client.find(LEASES, namespace, "none") is None
    with pytest.raises(NotFound, match=f"leases.coordination.k8s.io none in .* {namespace}"):
        client.get(LEASES, namespace, "none")


def test_a_second_one_of_a_name_is_refused(client: Client, namespace: str) -> None:
    client.create(LEASES, a_lease(namespace))

    with pytest.raises(AlreadyExists):
        client.create(LEASES, a_lease(namespace))


def test_an_older_form_does_not_overwrite_a_newer(client: Client, namespace: str) -> None:
    old = client.create(LEASES, a_lease(namespace))
    client.replace(LEASES, {**old, "spec": {**old["spec"], "holderIdentity": "b"}})

    with pytest.raises(Conflict):
        client.replace(LEASES, old)
    patch = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "spec": {}}
    with pytest.raises(Conflict):
        client.merge_patch(LEASES, namespace, "one", patch)

    assert client.get(LEASES, namespace, "one")["spec"]["holderIdentity"] == "b"


def test_a_status_is_written_and_the_spec_beside_it_is_not(client: Client, namespace: str) -> None:
    shard = client.create(DATA_SHARDS, a_shard(namespace))
    changed = {**shard, "spec": {**shard["spec"], "weight": "2"}, "status": {"records": 3}}

    written = client.replace_status(DATA_SHARDS, changed)

    assert written["status"] == {"records": 3}
    assert written["spec"] == shard["spec"]
    assert written["metadata"]["generation"] == shard["metadata"]["generation"]


def test_a_status_that_says_the_same_is_no_write(client: Client, namespace: str) -> None:
    shard = client.create(DATA_SHARDS, a_shard(namespace))
    once = client.replace_status(DATA_SHARDS, {**shard, "status": {"records": 3}})

    twice = client.replace_status(DATA_SHARDS, {**once, "status": {"records": 3}})

    assert twice["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]


def test_a_merge_patch_puts_a_finalizer_on_and_takes_it_off(client: Client, namespace: str) -> None:
    client.create(DATA_SHARDS, a_shard(namespace))

    held = {"metadata": {"finalizers": ["stockpot.dev/unlearn"]}}
    client.merge_patch(DATA_SHARDS, namespace, "food", held)
    client.delete(DATA_SHARDS, namespace, "food")
    assert "deletionTimestamp" in client.get(DATA_SHARDS, namespace, "food")["metadata"]
    client.merge_patch(DATA_SHARDS, namespace, "food", {"metadata": {"finalizers": None}})

    assert client.find(DATA_SHARDS, namespace, "food") is None


def test_only_the_object_that_was_meant_is_deleted(client: Client, namespace: str) -> None:
    made = client.create(LEASES, a_lease(namespace))

    with pytest.raises(Conflict):
        client.delete(LEASES, namespace, "one", uid="another")
    client.delete(LEASES, namespace, "one", uid=made["metadata"]["uid"])

    assert client.find(LEASES, namespace, "one") is None
    with pytest.raises(NotFound):
        client.delete(LEASES, namespace, "one")


def test_a_field_that_the_server_does_not_know_is_refused(client: Client, namespace: str) -> None:
    shard = client.create(DATA_SHARDS, a_shard(namespace))

    with pytest.raises(Invalid, match="mood"):
        client.replace_status(DATA_SHARDS, {**shard, "status": {"mood": "good"}})


def test_a_broken_rule_names_its_field(client: Client, namespace: str) -> None:
    shard = a_shard(namespace)
    shard["spec"]["source"]["pvc"] = {"claimName": "data"}

    with pytest.raises(Invalid, match="name exactly one source") as refused:
        client.create(DATA_SHARDS, shard)

    assert [cause["field"] for cause in refused.value.causes] == ["spec.source"]


# ----------------------------------------------------------------------- server-side apply


def a_service(namespace: str, **ports: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "emoji", "namespace": namespace},
        "spec": {
            "selector": {"app": "emoji"},
            "ports": [{"name": name, "port": port} for name, port in ports.items()],
        },
    }


def test_applying_twice_writes_once(client: Client, namespace: str) -> None:
    once = client.apply(SERVICES, a_service(namespace, http=80))

    twice = client.apply(SERVICES, a_service(namespace, http=80))

    assert twice == once


def test_a_field_that_is_told_no_more_goes_away(client: Client, namespace: str) -> None:
    client.apply(SERVICES, a_service(namespace, http=80, old=81))

    now = client.apply(SERVICES, a_service(namespace, http=80))

    assert [port["name"] for port in now["spec"]["ports"]] == ["http"]


def test_what_another_took_is_taken_back_and_what_is_its_own_stays(
    client: Client, cluster: ControlPlane, namespace: str
) -> None:
    client.apply(SERVICES, a_service(namespace, http=80))
    theirs = json.dumps(
        {"metadata": {"labels": {"team": "x"}}, "spec": {"selector": {"app": "another"}}}
    )
    status, _ = cluster.api.request(
        "PATCH",
        f"{SERVICES.path(namespace, 'emoji')}?fieldManager=kubectl-edit",
        theirs.encode(),
        "application/merge-patch+json",
    )
    assert status == 200

    now = client.apply(SERVICES, a_service(namespace, http=80))

    assert now["spec"]["selector"] == {"app": "emoji"}
    assert now["metadata"]["labels"] == {"team": "x"}
    owners = {entry["manager"]: entry["operation"] for entry in now["metadata"]["managedFields"]}
    assert owners["stockpot"] == "Apply"


# --------------------------------------------------------------------------------- listing


def test_a_listing_is_whole_however_many_pages_it_takes(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE", 2)
    for n in range(5):
        client.create(LEASES, a_lease(namespace, f"lease-{n}", soup="emoji" if n else "other"))

    everything = client.list(LEASES, namespace)
    some = client.list(LEASES, namespace, label_selector="soup=emoji")
    single = client.list(LEASES, namespace, field_selector="metadata.name=lease-3")

    assert [lease["metadata"]["name"] for lease in everything.items] == [
        f"lease-{n}" for n in range(5)
    ]
    assert len(some.items) == 4
    assert len(single.items) == 1
    assert everything.resource_version.isdecimal()


def test_all_namespaces_are_listed_where_none_is_named(client: Client, namespace: str) -> None:
    client.create(SOUPS, a_soup(namespace))

    soups = client.list(SOUPS, resource_version="0").items + client.list(SOUPS).items

    assert namespace in {soup["metadata"]["namespace"] for soup in soups}


def a_soup(namespace: str) -> Json:
    return {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": "Soup",
        "metadata": {"name": "emoji", "namespace": namespace},
        "spec": {"base": {"s3": {"prefix": "bases/emoji/"}}},
    }


# ------------------------------------------------------------------------------- refusals


def test_nothing_is_created_in_a_namespace_that_is_being_deleted(
    client: Client, namespace: str
) -> None:
    client.delete(NAMESPACES, None, namespace)

    with pytest.raises(NamespaceEnding, match="being terminated"):
        client.create(LEASES, a_lease(namespace))


def as_somebody(cluster: ControlPlane, namespace: str) -> Client:
    """Return the client of a ServiceAccount without any Role."""
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    body = json.dumps({"metadata": {"name": "nobody"}}).encode()
    assert cluster.api.request("POST", account, body, "application/json")[0] == 201
    paths = json.dumps({"spec": {}}).encode()
    status, answer = cluster.api.request(
        "POST", f"{account}/nobody/token", paths, "application/json"
    )
    assert status == 201, answer
    return with_token(cluster, json.loads(answer)["status"]["token"])


def with_token(cluster: ControlPlane, token: str) -> Client:
    configuration = Configuration(host=cluster.url, ssl_ca_cert=str(cluster.ca))
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    return Client(configuration)


def test_what_is_not_allowed_is_said_with_verb_and_place(
    cluster: ControlPlane, namespace: str
) -> None:
    somebody = as_somebody(cluster, namespace)

    with pytest.raises(Forbidden) as refused:
        somebody.list(SECRETS, namespace)

    assert not isinstance(refused.value, NamespaceEnding)
    assert refused.value.request == ApiRequest("list", "secrets", namespace)
    assert f"did not list secrets in the namespace {namespace}: " in refused.value.message
    assert f"kubectl auth can-i list secrets -n {namespace}" in refused.value.help


def test_a_token_that_nobody_gave_us_is_said_to_be_wrong(cluster: ControlPlane) -> None:
    with pytest.raises(Unauthorized) as refused:
        with_token(cluster, "made-up").list(NAMESPACES)

    assert "token" in refused.value.help


def test_a_used_up_quota_is_told_from_a_missing_right() -> None:
    message_of = 'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1'
    body = json.dumps({"kind": "Status", "message": message_of, "reason": "Forbidden"}).encode()

    error = error_of(ApiRequest("create", "jobs.batch", "studio", "x"), 403, body)

    assert isinstance(error, OverQuota)
    assert "kubectl describe quota -n studio" in error.help


def test_a_silent_server_is_given_up_in_time(cluster: ControlPlane, client: Client) -> None:
    cluster.apiserver.pause()
    try:
        began_s = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer"):
            client.with_timeout(0.5).list(NAMESPACES)
        took_s = time.monotonic() - began_s
    finally:
        cluster.apiserver.resume()

    assert took_s < 3
    assert client.list(NAMESPACES).items


def test_a_server_that_was_restarted_is_talked_to_again(
    cluster: ControlPlane, client: Client, namespace: str
) -> None:
    client.create(LEASES, a_lease(namespace))

    cluster.restart_apiserver()

    assert client.get(LEASES, namespace, "one")["spec"]["holderIdentity"] == "a"


def test_many_threads_share_a_client(client: Client, namespace: str) -> None:
    names = [f"lease-{n}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.create(LEASES, a_lease(namespace, name)), names))
        read = list(pool.map(lambda name: client.get(LEASES, namespace, name), names))

    assert [lease["metadata"]["name"] for lease in read] == names


def test_a_kubeconfig_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no Kubernetes credentials") as refused:
        connect(kubeconfig=tmp_path / "none")

    assert "--context" in refused.value.help


def test_a_context_that_is_not_in_the_kubeconfig_is_named(cluster: ControlPlane) -> None:
    with pytest.raises(Refused, match="elsewhere"):
        read_configuration(kubeconfig=cluster.kubeconfig, context="elsewhere")
