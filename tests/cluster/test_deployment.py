"""The Deployment and Service of the servers, and which of their pods have ended."""

import pytest
from tests.cluster.shapes import SOUP, Json, a_pod, servers, settings

from stockpot.api.runspec import RUN_SPEC, ServeRun
from stockpot.cluster.manifests.deployment import (
    ServerPod,
    deployment_name,
    deployment_of,
    grant_keys_of,
    has_ended,
    is_out_of_service,
    server_pods_of,
    service_name_blocker,
    service_of,
)
from stockpot.serving.http_server import HANDSHAKES_S, LAST_ANSWERS_S, LINGER_S

DEPLOYMENT = deployment_of(SOUP, servers(), 2, settings())


def container() -> Json:
    (only,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    item: Json = only
    return item


def a_server(name: str, **status: object) -> Json:
    replica_set = {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "uid": "set-uid"}}
    return a_pod(replica_set, name=name, **status)


def test_servers_listen_on_all_addresses_at_the_ports_that_the_pod_names() -> None:
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    spec = RUN_SPEC.validate_json(annotations["stockpot.dev/run-spec"])

    assert isinstance(spec, ServeRun)
    assert (spec.host, spec.port, spec.admin_port) == ("0.0.0.0", 8080, 8081)
    assert spec.metrics_port == 8083
    assert {item["name"]: item["containerPort"] for item in container()["ports"]} == {
        "http": 8080,
        "admin": 8081,
        "progress": 8082,
        "metrics": 8083,
    }
    assert annotations["prometheus.io/port"] == "8083"


def test_a_server_knows_its_pod_and_the_keys_of_its_operator() -> None:
    spec = servers().model_copy(update={"grant_keys": ("A" * 43 + "=",)})
    deployment = deployment_of(SOUP, spec, 1, settings())
    (only,) = deployment["spec"]["template"]["spec"]["containers"]

    assert grant_keys_of(deployment) == spec.grant_keys
    assert grant_keys_of(DEPLOYMENT) == grant_keys_of(None) == ()
    uid = {"name": "STOCKPOT_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    assert uid in only["env"]
    assert {"name": "HOME", "value": "/tmp"} in only["env"]


def test_a_rollout_never_has_fewer_servers_than_were_asked_for() -> None:
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert DEPLOYMENT["spec"]["replicas"] == 2


@pytest.mark.parametrize(("drain_s", "grace_s"), [(0, 80), (10, 80), (60, 80), (3600, 3620)])
def test_a_server_that_ends_has_time_for_all_that_it_does_then(drain_s: int, grace_s: int) -> None:
    template = deployment_of(SOUP, servers(drain_s=drain_s), 1, settings())["spec"]["template"]
    run = RUN_SPEC.validate_json(template["metadata"]["annotations"]["stockpot.dev/run-spec"])

    assert isinstance(run, ServeRun)
    assert run.finish_s is not None
    assert run.finish_s >= drain_s
    assert template["spec"]["terminationGracePeriodSeconds"] == grace_s
    before_s = template["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    rest_s = grace_s - before_s - run.leave_s - run.finish_s
    assert rest_s > LAST_ANSWERS_S + HANDSHAKES_S + LINGER_S


def test_a_server_answers_on_until_its_unreadiness_is_known() -> None:
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    run = RUN_SPEC.validate_json(annotations["stockpot.dev/run-spec"])
    probe = container()["readinessProbe"]

    assert container()["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert isinstance(run, ServeRun)
    # A container that is ended without its pod being deleted has no wait before that.
    assert run.leave_s >= 2 * probe["periodSeconds"] * probe["failureThreshold"]


def test_a_server_is_ready_when_it_says_so_and_has_long_to_start() -> None:
    assert container()["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert container()["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600


def test_the_service_has_the_soups_name_and_finds_its_servers() -> None:
    service = service_of(SOUP, servers())

    assert service["metadata"]["name"] == "emoji"
    assert service["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    ]
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_later_soup_of_the_same_name_has_a_deployment_of_its_own() -> None:
    later = SOUP.model_copy(update={"uid": "99999999-0000-4000-8000-000000000000"})

    assert deployment_name(SOUP) == "emoji-5f3a9-serve"
    assert deployment_name(later) != deployment_name(SOUP)


def test_a_service_of_somebody_else_is_left_alone_and_named() -> None:
    foreign: Json = {"metadata": {"name": "emoji", "namespace": "studio", "labels": {"app": "x"}}}

    blocker = service_name_blocker(foreign)

    assert blocker
    assert blocker.reason == "NameTaken"
    assert "Service emoji in the namespace studio" in blocker.message
    assert "kubectl delete service -n studio emoji" in blocker.help
    assert service_name_blocker(service_of(SOUP, servers())) is None
    assert service_name_blocker(None) is None


def test_every_pod_whose_end_nobody_confirmed_is_asked() -> None:
    ready = a_server("b", podIP="10.0.0.2", conditions=[{"type": "Ready", "status": "True"}])
    starting = a_server("a", podIP="fd00::1", conditions=[{"type": "Ready", "status": "False"}])
    ending = a_server("c", podIP="10.0.0.4")
    ending["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:30Z"
    gone = a_server("d")
    gone["status"]["phase"] = "Failed"

    endpoints = server_pods_of([ready, starting, ending, gone])

    prefix, node = "emoji-5f3a9-serve", "node-1"
    assert endpoints == (
        ServerPod(f"{prefix}-a", "a-uid", "fd00::1", ready=False, ending=False, node=node),
        ServerPod(f"{prefix}-b", "b-uid", "10.0.0.2", ready=True, ending=False, node=node),
        ServerPod(f"{prefix}-c", "c-uid", "10.0.0.4", ready=False, ending=True, node=node),
    )


@pytest.mark.parametrize(
    ("ip", "url"), [("10.0.0.2", "http://10.0.0.2:8081"), ("fd00::1", "http://[fd00::1]:8081")]
)
def test_a_server_is_told_at_its_own_address(ip: str, url: str) -> None:
    assert ServerPod("a", "u", ip, ready=True, ending=False).admin_url == url


def test_a_pod_that_is_deleted_has_ended_once_its_container_has() -> None:
    ending, restarting = a_server("a"), a_server("b")
    for pod in (ending, restarting):
        pod["status"]["containerStatuses"] = [{"name": "serve", "state": {"terminated": {}}}]
    ending["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:30Z"

    assert has_ended(ending)
    assert not has_ended(restarting)


def test_only_the_admins_taint_says_that_nothing_runs_on_a_node() -> None:
    lost = {"spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}}
    shut = {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service"}]}}

    assert is_out_of_service(shut)
    assert not is_out_of_service(lost)
    assert not is_out_of_service({"spec": {}})
