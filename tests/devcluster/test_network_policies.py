"""NetworkPolicies of the built-in cluster: which rules of nftables they become."""

import os
import shutil
import subprocess
from typing import Any

import pytest
from devcluster import debian
from devcluster.network_policies import table

Object = dict[str, Any]

NAMESPACES: list[Object] = [
    {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
    for name in ("studio", "atelier", "system")
]
OPERATOR = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "system"}}}


def a_pod(namespace: str, address: str, phase: str = "Running", **labels: str) -> Object:
    container = {"ports": [{"name": "metrics", "containerPort": 8083}]}
    return {
        "metadata": {"namespace": namespace, "name": f"pod-{address}", "labels": labels},
        "spec": {"containers": [container]},
        "status": {"phase": phase, "podIP": address},
    }


def a_policy(*ingress: Object, **selector: Any) -> Object:
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    return {"metadata": {"namespace": "studio", "name": "policy"}, "spec": spec}


SERVER = a_pod("studio", "10.0.0.1", component="serve")
PODS = [
    SERVER,
    a_pod("studio", "10.0.0.2", component="train"),
    a_pod("atelier", "10.0.0.3", component="train"),
    a_pod("system", "10.0.0.4", component="operator"),
]
SERVERS = {"matchLabels": {"component": "serve"}}


def rules(*policies: Object, pods: list[Object] = PODS) -> dict[str, list[str]]:
    """Return the rules of each chain."""
    chains: dict[str, list[str]] = {}
    name = ""
    for line in table(policies, pods, NAMESPACES).splitlines():
        match line.split():
            case ["chain", name, "{"]:
                chains[name] = []
            case [] | ["}"] | ["table", *_] | ["delete", *_]:
                pass
            case words:
                chains[name].append(" ".join(words))
    return chains


def test_a_pod_that_no_policy_selects_is_reached_by_all() -> None:
    assert rules().keys() == {"forward"}
    assert not any("vmap" in rule for rule in rules()["forward"])


def test_who_is_not_named_is_refused_at_once() -> None:
    chains = rules(a_policy({"from": [OPERATOR], "ports": [{"port": 8081}]}, **SERVERS))

    assert chains["pod-10-0-0-1"] == [
        "ip saddr 10.0.0.4 tcp dport 8081 accept",
        "reject with icmpx admin-prohibited",
    ]
    assert chains["forward"][-1] == "ip daddr vmap { 10.0.0.1 : jump pod-10-0-0-1 }"
    assert chains.keys() == {"forward", "pod-10-0-0-1"}


def test_a_rule_without_sources_admits_all_and_one_without_ports_every_port() -> None:
    chains = rules(
        a_policy({"ports": [{"port": 8080}]}, {"from": [OPERATOR]}, **SERVERS),
    )

    assert chains["pod-10-0-0-1"][:2] == ["ip saddr 10.0.0.4 accept", "tcp dport 8080 accept"]


def test_a_policy_without_rules_closes_the_pods_of_its_own_namespace_alone() -> None:
    chains = rules(a_policy())

    assert (
        chains["pod-10-0-0-1"] == chains["pod-10-0-0-2"] == ["reject with icmpx admin-prohibited"]
    )
    assert "pod-10-0-0-3" not in chains


def test_ports_are_found_by_name_and_ranges_and_blocks_are_kept() -> None:
    block = {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24"]}}
    ports = [{"port": "metrics"}, {"port": 90, "endPort": 99, "protocol": "UDP"}]

    chains = rules(a_policy({"from": [block], "ports": ports}, **SERVERS))

    source = "ip saddr 10.1.0.0/16 ip saddr != { 10.1.2.0/24 }"
    assert chains["pod-10-0-0-1"][:2] == [
        f"{source} tcp dport 8083 accept", f"{source} udp dport 90-99 accept"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "admitted"),
    [
        ({"operator": "In", "values": ["train"]}, {"10.0.0.2"}),
        ({"operator": "NotIn", "values": ["train"]}, {"10.0.0.1"}),
        ({"operator": "Exists"}, {"10.0.0.1", "10.0.0.2"}),
        ({"operator": "DoesNotExist"}, set()),
    ],
    ids=["in", "not-in", "exists", "does-not-exist"],
)
def test_peers_of_the_policys_own_namespace_are_chosen_by_expressions(
    expression: Object, admitted: set[str]
) -> None:
    peer = {"podSelector": {"matchExpressions": [{"key": "component", **expression}]}}

    chain = rules(a_policy({"from": [peer]}, **SERVERS))["pod-10-0-0-1"]

    assert {rule.split()[2] for rule in chain if "accept" in rule} == admitted


def test_a_pod_that_ended_is_neither_judged_nor_admitted() -> None:
    ended = a_pod("system", "10.0.0.5", phase="Succeeded", component="operator")
    server = a_pod("studio", "10.0.0.6", phase="Failed", component="serve")

    chains = rules(a_policy({"from": [OPERATOR]}, **SERVERS), pods=[*PODS, ended, server])

    assert "pod-10-0-0-6" not in chains
    assert not any("10.0.0.5" in rule for rule in chains["pod-10-0-0-1"])


@pytest.mark.skipif(os.geteuid() != 0, reason="nft needs root")
@pytest.mark.skipif(
    not shutil.which("nft", path=debian.SEARCHED), reason="there is no nft (nftables)"
)
def test_nft_takes_the_rules_again_and_again() -> None:
    block = {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24", "10.1.3.0/24"]}}
    ports = [{"port": 8080}, {"port": 90, "endPort": 99, "protocol": "UDP"}, {}]
    policy = a_policy({"from": [OPERATOR, block], "ports": ports}, {"from": [OPERATOR]}, **SERVERS)
    texts = [table([policy], PODS, NAMESPACES), table([], [], []), table([a_policy()], PODS, [])]

    each = 'for text; do echo "$text" | nft -f - || exit; done'

    ended = subprocess.run(
        ["unshare", "--net", "sh", "-c", each, "sh", *texts],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": debian.SEARCHED},
    )

    assert ended.returncode == 0, ended.stderr
