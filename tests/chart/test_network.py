"""What the chart renders about who reaches whom: NetworkPolicies, monitors, the dashboard."""

import json

import yaml
from tests.chart.conftest import Render

from stockpot.workload.main import VERBS


def test_runs_are_reached_by_the_operator_alone(render: Render) -> None:
    (policy,) = [
        thing
        for thing in render("least").of("NetworkPolicy")
        if (thing["metadata"]["namespace"], thing["metadata"]["name"])
        == ("studio", "stockpot-runs")
    ]

    (selected,) = policy["spec"]["podSelector"]["matchExpressions"]
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert set(selected["values"]) == VERBS.keys() - {"serve"}
    assert rule["ports"] == [{"port": 8082}]
    assert peer["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "stockpot-system"
    }
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"


def test_everybody_may_ask_a_server_for_pictures_and_the_operator_alone_tells_it(
    render: Render,
) -> None:
    (policy,) = [
        thing
        for thing in render("least").of("NetworkPolicy")
        if thing["metadata"]["name"] == "stockpot-servers"
    ]

    public, grants, metrics = policy["spec"]["ingress"]
    assert public == {"ports": [{"port": 8080}]}
    assert [thing["port"] for thing in grants["ports"]] == [8081]
    assert [thing["port"] for thing in metrics["ports"]] == [8082, 8083]
    assert grants["from"] == metrics["from"]
    assert len(grants["from"]) == 1


def test_prometheus_reaches_metrics_and_never_where_grants_are_taken(render: Render) -> None:
    prometheus = {"namespaceSelector": {"matchLabels": {"who": "prometheus"}}}
    rendered = render("most", networkPolicy__metricsFrom=json.dumps([prometheus]))

    reached = {
        (policy["metadata"]["name"], port["port"])
        for policy in rendered.of("NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        if prometheus in rule.get("from", ())
        for port in rule["ports"]
    }
    (monitor,) = rendered.of("PodMonitor")

    assert reached == {
        ("stockpot-runs", 8082),
        ("stockpot-servers", 8082),
        ("stockpot-servers", 8083),
    }
    ports = [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    assert ports == ["metrics", "progress"]


def test_policies_can_be_left_out(render: Render) -> None:
    assert render("least", networkPolicy__enabled="false").of("NetworkPolicy") == []


def test_monitors_are_there_when_they_are_asked_for(render: Render) -> None:
    least, most = render("least"), render("most")

    assert least.of("ServiceMonitor") + least.of("PodMonitor") == []
    for kind in ("ServiceMonitor", "PodMonitor"):
        (monitor,) = most.of(kind)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (operator,) = most.of("ServiceMonitor")[0]["spec"]["endpoints"]
    assert operator["honorLabels"] is True


def test_the_dashboard_is_found_by_grafana(render: Render) -> None:
    dashboard = render("least").named("ConfigMap", "stockpot-dashboard")

    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert yaml.safe_load(dashboard["data"]["soup-quality.json"])["title"] == "Soup quality"
