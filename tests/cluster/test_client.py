"""The client against a real API server; and against a false one, for what that one never says."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    ResourceExpired,
    TooMany,
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
    owners = {one["manager"]: one["operation"] for one in now["metadata"]["managedFields"]}
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
    one = client.list(LEASES, namespace, field_selector="metadata.name=lease-3")

    assert [lease["metadata"]["name"] for lease in everything.items] == [
        f"lease-{n}" for n in range(5)
    ]
    assert len(some.items) == 4
    assert len(one.items) == 1
    assert everything.resource_version.isdecimal()


def test_all_namespaces_are_listed_where_none_is_named(client: Client, namespace: str) -> None:
    client.create(SOUPS, a_soup(namespace))

    found = client.list(SOUPS, resource_version="0").items + client.list(SOUPS).items

    assert namespace in {soup["metadata"]["namespace"] for soup in found}


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
    """Somebody whom no Role allows anything."""
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    body = json.dumps({"metadata": {"name": "nobody"}}).encode()
    assert cluster.api.request("POST", account, body, "application/json")[0] == 201
    asked = json.dumps({"spec": {}}).encode()
    status, answer = cluster.api.request(
        "POST", f"{account}/nobody/token", asked, "application/json"
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
    said = 'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1'
    body = json.dumps({"kind": "Status", "message": said, "reason": "Forbidden"}).encode()

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


# ------------------------------------------- answers that a healthy API server does not give

Answers = list[tuple[int, dict[str, str], str]]


@contextmanager
def answering(answers: Answers) -> Iterator[tuple[Client, list[str]]]:
    """Something that gives these answers, the last one for ever; and what it was asked."""
    asked: list[str] = []
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with turn:
                asked.append(self.path)
                status, headers, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client(Configuration(host=f"http://127.0.0.1:{server.server_address[1]}"))
    try:
        yield client, asked
    finally:
        client.close()
        server.shutdown()
        server.server_close()


def status(code: int, reason: str, message: str = "no") -> str:
    told = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return json.dumps(told)


def page(names: list[str], more: str = "") -> str:
    items = [{"metadata": {"name": name}} for name in names]
    return json.dumps({"metadata": {"resourceVersion": "5", "continue": more}, "items": items})


BUSY = (429, {"Retry-After": "0"}, status(429, "TooManyRequests", "try again"))


def test_a_busy_server_is_asked_again() -> None:
    with answering([BUSY, BUSY, (200, {}, page(["a"]))]) as (client, asked):
        assert len(client.list(SOUPS).items) == 1

    assert len(asked) == 3


def test_a_server_that_stays_busy_is_left_alone_after_a_while() -> None:
    with answering([BUSY]) as (client, asked), pytest.raises(TooMany, match="try again"):
        client.list(SOUPS)

    assert len(asked) == client_module.ATTEMPTS


def test_nobody_waits_longer_than_a_call_may_take() -> None:
    later = (429, {"Retry-After": "60"}, status(429, "TooManyRequests"))
    with answering([later]) as (client, asked):
        began_s = time.monotonic()
        with pytest.raises(TooMany):
            client.list(SOUPS)

    assert time.monotonic() - began_s < 5
    assert len(asked) == 1


def test_a_listing_that_expired_between_two_pages_starts_anew() -> None:
    expired = (410, {}, status(410, "Expired"))
    answers: Answers = [
        (200, {}, page(["old-a"], more="next")),
        expired,
        (200, {}, page(["a"], more="next")),
        (200, {}, page(["b"])),
    ]
    with answering(answers) as (client, asked):
        found = client.list(SOUPS, resource_version="4")

    assert [item["metadata"]["name"] for item in found.items] == ["a", "b"]
    assert "resourceVersion=4" in asked[0]
    assert "resourceVersion" not in asked[1]


def test_a_listing_that_always_expires_is_given_up() -> None:
    with (
        answering([(410, {}, status(410, "Expired"))]) as (client, asked),
        pytest.raises(ResourceExpired),
    ):
        client.list(SOUPS)

    assert len(asked) == client_module.RESTARTS


@pytest.mark.parametrize(
    "answer",
    [
        (502, {}, "<html>Bad gateway</html>"),
        (503, {}, status(503, "ServiceUnavailable")),
        (200, {}, "<html>Log in</html>"),
        (302, {"Location": "http://127.0.0.1:9/"}, ""),
    ],
)
def test_what_says_nothing_of_the_question_is_no_answer(
    answer: tuple[int, dict[str, str], str],
) -> None:
    with answering([answer]) as (client, _), pytest.raises(Unavailable):
        client.list(SOUPS)


def test_nobody_listens() -> None:
    client = Client(Configuration(host="http://127.0.0.1:9"))

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 did not answer"):
        client.list(SOUPS)


def test_a_token_is_read_anew_for_each_call() -> None:
    tokens = iter(["Bearer one", "Bearer two"])
    configuration = Configuration(host="http://127.0.0.1:9")
    seen: list[str] = []

    def refresh(told: Configuration) -> None:
        told.api_key["BearerToken"] = next(tokens)
        seen.append(told.api_key["BearerToken"])

    configuration.refresh_api_key_hook = refresh
    client = Client(configuration)
    ask: Callable[[], object] = lambda: client.list(SOUPS)  # noqa: E731

    for _ in range(2):
        with pytest.raises(Unavailable):
            ask()

    assert seen == ["Bearer one", "Bearer two"]
