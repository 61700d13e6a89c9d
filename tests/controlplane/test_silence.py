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
from tests.controlplane.town import Operator, Town

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
    with an_api_server(tmp_path / "crds") as one:
        yield Admin(one)


@pytest.fixture
def mirror(admin: Admin) -> Iterator[Mirror]:
    one = Mirror(admin)
    yield one
    one.stop()


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


def told(town: Town) -> int:
    """How many Events the operators wrote."""
    happened = town.mirror.happened(EVENTS, (town.studio, town.release))
    return sum(1 for one in happened if one.thing.get("source", {}).get("component") == "stockpot")


def some_time(town: Town, renewals: int = 3) -> float:
    """Let the release renew its scope some times: a few seconds, in which rounds may happen."""
    began_s = time.monotonic()

    def renewed() -> int:
        return len(town.mirror.happened(LEASES, [town.studio]))

    until = renewed() + renewals
    town.until(lambda: renewed() >= until, "the scope is renewed")
    return time.monotonic() - began_s


def settled(town: Town) -> Operator:
    operator = town.operator()
    town.soup(serving={"replicas": 2})
    town.shard("food")
    town.shard("travel")
    town.learnt("food", "travel")
    town.until(lambda: not town.jobs(), "what has ended is put away")
    some_time(town, 1)
    return operator


def test_nothing_is_written_in_a_settled_world_but_leases(
    town: Town, admin: Admin, figure: Figure
) -> None:
    operator = settled(town)
    before, events, cpu_s = writes(admin), told(town), operator.cpu_s()

    took_s = some_time(town)

    assert writes(admin) - before == Counter()
    assert told(town) == events
    figure("CPU of an idle operator, in percent", 100 * (operator.cpu_s() - cpu_s) / took_s)
    figure("RSS of an idle operator, in MB", operator.rss_bytes() / 1e6)
    assert operator.rss_bytes() < RSS_MB * 1e6


def rounds(operator: Operator) -> float:
    """How many it came to the end of."""
    lines = operator.metrics().splitlines()
    name = "stockpot_reconcile_duration_seconds_count"
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_an_operator_that_starts_again_writes_nothing_in_a_settled_world(
    town: Town, admin: Admin
) -> None:
    first = settled(town)
    before, events = writes(admin), told(town)

    code = first.end()
    second = town.operator("second")
    town.until(lambda: town.leader() == "second", "the second leads")
    town.until(lambda: rounds(second) > 0, "it works")
    some_time(town)

    assert code == 0
    assert writes(admin) - before == Counter()
    assert told(town) == events
