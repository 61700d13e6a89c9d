"""The API server may be slow, away, or forget: nothing is lost, and nothing is done twice."""

import json
import threading
import urllib.request

from tests.controlplane.admin import Admin
from tests.controlplane.kubelet import Order
from tests.controlplane.town import Town

from stockpot.cluster.apiserver.resources import Resource

FLOWS = "flowcontrol.apiserver.k8s.io"
LEVELS = Resource(
    FLOWS, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False
)
SCHEMAS = Resource(FLOWS, "v1", "flowschemas", "FlowSchema", namespaced=False)


def a_training_under_way(town: Town) -> str:
    town.kubelet.order(Order("train", hold=True))
    town.operator().is_kept = True
    town.soup()
    food = town.shard("food")
    town.until(lambda: town.condition("food", "Ready")["reason"] == "Training", "it trains")
    return food


def ends_well(town: Town, food: str) -> None:
    town.kubelet.forget_orders()
    town.learnt("food", within_s=60)
    assert town.serving() == [{food}]
    town.delete("food")
    town.forgotten("food", within_s=60)
    assert len(town.posted("train")) == 1


def compact(town: Town) -> None:
    """Let etcd forget all that was."""
    [client] = [
        word.partition("=")[2]
        for word in town.admin.cluster.etcd.command
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


def test_a_crash_of_the_api_server_loses_nothing(town: Town) -> None:
    food = a_training_under_way(town)

    compact(town)
    town.admin.cluster.restart_apiserver()

    ends_well(town, food)


def test_an_api_server_that_stands_still_is_waited_for(town: Town) -> None:
    food = a_training_under_way(town)

    town.admin.cluster.apiserver.pause()
    threading.Event().wait(6)  # Nothing can be awaited of something that does not move.
    town.admin.cluster.apiserver.resume()

    ends_well(town, food)


def test_an_operator_that_is_turned_away_comes_back_later(town: Town, admin: Admin) -> None:
    name = f"busy-{town.release}"
    limited = {
        "nominalConcurrencyShares": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    admin.create(
        LEVELS, None, {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}
    )
    account = {"name": "operator", "namespace": town.release}
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
        # One request at a time is let in: the streams that begin side by side are not.
        operator = town.operator()
        town.soup()
        food = town.shard("food")
        town.until(turned_away, "the operator is turned away")

        town.learnt("food", within_s=90)
    finally:
        admin.delete(SCHEMAS, None, name)
        admin.delete(LEVELS, None, name)

    assert town.serving() == [{food}]
    assert operator.process.poll() is None
