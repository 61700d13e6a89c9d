"""A settled world is silent: counted by the API server itself.

Each test has an API server of its own: what controllers still delete of other tests' namespaces,
minutes later, would be counted with what the operator writes.

Invariant 9.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controlplane.admin import Admin, Mirror
from tests.controlplane.conftest import Figure, an_api_server
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.resources import EVENTS, LEASES
from stockpot.cluster.chart.permissions import (
    IN_RELEASE_NAMESPACE,
    IN_WORKLOAD_NAMESPACE,
    SEE,
)

WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}
WRITTEN = {
    rule.resource.partition("/")[0]
    for rule in (*IN_WORKLOAD_NAMESPACE, *IN_RELEASE_NAMESPACE)
    if not {*SEE} >= {*rule.verbs}
} - {"leases", "events"}
"""Controllers write other things, and Events, at times of their own."""
RSS_MB = 150


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with an_api_server(tmp_path / "crds") as plane:
        yield Admin(plane)


@pytest.fixture
def mirror(admin: Admin) -> Iterator[Mirror]:
    mirror = Mirror(admin)
    yield mirror
    mirror.stop()


def writes(admin: Admin) -> Counter[str]:
    """How often anybody wrote what an operator writes, by verb and resource; Leases aside."""
    counted: Counter[str] = Counter()
    for line in admin.text("/metrics").splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if labels["verb"] in WRITES and labels["resource"] in WRITTEN:
            what = f"{labels['verb']} {labels['resource']}/{labels['subresource']}"
            counted[what] += int(float(line.rpartition(" ")[2]))
    return counted


def events_written(test_cluster: TestCluster) -> int:
    """How many Events the operators wrote."""
    happened = test_cluster.mirror.happened(EVENTS, (test_cluster.studio, test_cluster.release))
    return sum(
        1 for entry in happened if entry.thing.get("source", {}).get("component") == "stockpot"
    )


def some_time(test_cluster: TestCluster, renewals: int = 3) -> float:
    """Let the release renew its scope some times: a few seconds, in which rounds may happen."""
    began_s = time.monotonic()

    def renewed() -> int:
        return len(test_cluster.mirror.happened(LEASES, [test_cluster.studio]))

    until = renewed() + renewals
    test_cluster.until(lambda: renewed() >= until, "the scope is renewed")
    return time.monotonic() - began_s


def settled(test_cluster: TestCluster) -> Operator:
    operator = test_cluster.operator()
    test_cluster.soup(serving={"replicas": 2})
    test_cluster.shard("food")
    test_cluster.shard("travel")
    test_cluster.learnt("food", "travel")
    test_cluster.until(lambda: not test_cluster.jobs(), "what has ended is put away")
    some_time(test_cluster, 1)
    return operator


def test_nothing_is_written_in_a_settled_world_but_leases(
    test_cluster: TestCluster, admin: Admin, figure: Figure
) -> None:
    operator = settled(test_cluster)
    before, events, cpu_s = writes(admin), events_written(test_cluster), operator.cpu_s()

    took_s = some_time(test_cluster)

    assert writes(admin) - before == Counter()
    assert events_written(test_cluster) == events
    figure("CPU of an idle operator, in percent", 100 * (operator.cpu_s() - cpu_s) / took_s)
    figure("RSS of an idle operator, in MB", operator.rss_bytes() / 1e6)
    assert operator.rss_bytes() < RSS_MB * 1e6


def rounds(operator: Operator) -> float:
    """How many it came to the end of."""
    lines = operator.metrics().splitlines()
    name = "stockpot_reconcile_duration_seconds_count"
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_an_operator_that_starts_again_writes_nothing_in_a_settled_world(
    test_cluster: TestCluster, admin: Admin
) -> None:
    first = settled(test_cluster)
    before, events = writes(admin), events_written(test_cluster)

    code = first.end()
    second = test_cluster.operator("second")
    test_cluster.until(lambda: test_cluster.leader() == "second", "the second leads")
    test_cluster.until(lambda: rounds(second) > 0, "it works")
    some_time(test_cluster)

    assert code == 0
    assert writes(admin) - before == Counter()
    assert events_written(test_cluster) == events
