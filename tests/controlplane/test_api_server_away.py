"""The API server may be slow, away, or forget: nothing is lost, and nothing is done twice."""

import json
import threading
import urllib.request

from tests.controlplane.admin import Admin
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.resources import Resource

FLOWS = "flowcontrol.apiserver.k8s.io"
LEVELS = Resource(
    FLOWS, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False
)
SCHEMAS = Resource(FLOWS, "v1", "flowschemas", "FlowSchema", namespaced=False)


def a_training_under_way(test_cluster: TestCluster) -> str:
    test_cluster.kubelet.order(Order("train", hold=True))
    test_cluster.operator().is_kept = True
    test_cluster.soup()
    food = test_cluster.shard("food")
    test_cluster.until(
        lambda: test_cluster.condition("food", "Ready")["reason"] == "Training", "it trains"
    )
    return food


def ends_well(test_cluster: TestCluster, food: str) -> None:
    test_cluster.kubelet.forget_orders()
    test_cluster.learnt("food", within_s=60)
    assert test_cluster.serving() == [{food}]
    test_cluster.delete("food")
    test_cluster.forgotten("food", within_s=60)
    assert len(test_cluster.posted("train")) == 1


def compact(test_cluster: TestCluster) -> None:
    """Let etcd forget all that was."""
    [client] = [
        word.partition("=")[2]
        for word in test_cluster.admin.cluster.etcd.command
        if word.startswith("--advertise-client-urls=")
    ]

    def ask(path: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(client + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            document: dict[str, object] = json.load(answer)
        return document

    header = ask("/v3/kv/range", {"key": "AA=="})["header"]
    assert isinstance(header, dict)
    ask("/v3/kv/compaction", {"revision": header["revision"], "physical": True})


def test_a_crash_of_the_api_server_loses_nothing(test_cluster: TestCluster) -> None:
    food = a_training_under_way(test_cluster)

    compact(test_cluster)
    test_cluster.admin.cluster.restart_apiserver()

    ends_well(test_cluster, food)


def test_an_api_server_that_stands_still_is_waited_for(test_cluster: TestCluster) -> None:
    food = a_training_under_way(test_cluster)

    test_cluster.admin.cluster.apiserver.pause()
    threading.Event().wait(6)  # Nothing can be awaited of something that does not move.
    test_cluster.admin.cluster.apiserver.resume()

    ends_well(test_cluster, food)


def test_an_operator_that_is_turned_away_comes_back_later(
    test_cluster: TestCluster, admin: Admin
) -> None:
    name = f"busy-{test_cluster.release}"
    limited = {
        "nominalConcurrencyShares": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    admin.create(
        LEVELS, None, {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}
    )
    account = {"name": "operator", "namespace": test_cluster.release}
    groups = ["stockpot.dev", "batch", "apps"]
    rule = {"apiGroups": groups, "resources": ["*"], "namespaces": ["*"], "verbs": ["*"]}
    schema = {
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": 2,
        "rules": [
            {
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
                "resourceRules": [rule],
            }
        ],
    }
    admin.create(SCHEMAS, None, {"metadata": {"name": name}, "spec": schema})

    def turned_away() -> int:
        lines = admin.text("/metrics").splitlines()
        counted = [
            line
            for line in lines
            if line.startswith("apiserver_flowcontrol_rejected_requests_total{")
            and f'priority_level="{name}"' in line
        ]
        return sum(int(float(line.rpartition(" ")[2])) for line in counted)

    try:
        # One request at a time is let in: of the workers' requests, which come side by side, some
        # are not.
        operator = test_cluster.operator()
        for number in range(6):
            test_cluster.soup(f"other-{number}", serving={"replicas": 0})
        test_cluster.soup()
        food = test_cluster.shard("food")
        test_cluster.until(turned_away, "the operator is turned away")

        test_cluster.learnt("food", within_s=90)
    finally:
        admin.delete(SCHEMAS, None, name)
        admin.delete(LEVELS, None, name)

    assert test_cluster.serving() == [{food}]
    assert operator.process.poll() is None
