"""A namespace with live shards through upgrades, rollbacks, drops and re-adds in every order.

An order has five steps. A step is one of three, of which each is legal at any moment: `upgrade`
leaves the namespace as it is in workloadNamespaces, `toggle` drops it, or adds it again where it
was dropped, and `rollback` goes back to the revision before, which may do any of these. There are
3⁵ = 243 orders from a fresh release. A rollback is the whole release's, the two others may differ
from namespace to namespace: orders with their rollbacks at the same places are played at once,
each in a namespace of its own. In each step a deletion is on its way while the operator is
replaced.
"""

import itertools
import os
import time
from enum import StrEnum

import pytest
from tests.controlplane.admin import ACCOUNTS, BINDINGS, SECRETS
from tests.controlplane.chart_release import ChartRelease
from tests.controlplane.conftest import Figure
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.cluster.apiserver.objects import Json, annotations_on, uid_of
from stockpot.cluster.apiserver.pinned_namespaces import ANNOTATION, LEASE
from stockpot.cluster.apiserver.resources import LEASES, SOUPS

pytestmark = pytest.mark.timeout(1800)

STEPS = 5
MOST_NAMESPACES = 4
MESSAGE_WITHIN_S = 60.0
"""What is not done after this time says what it waits for."""
PATIENCE_S = 300.0
"""For what a busy machine takes: many namespaces learn and unlearn at once."""


class Step(StrEnum):
    UPGRADE = "upgrade"
    TOGGLE = "toggle"
    ROLLBACK = "rollback"


Order = tuple[Step, ...]


def orders_by_rollbacks() -> dict[str, list[Order]]:
    """Group all orders by the places of their rollbacks, a few in each group."""
    groups: dict[str, list[Order]] = {}
    for order in itertools.product(Step, repeat=STEPS):
        places = "".join("r" if step is Step.ROLLBACK else "-" for step in order)
        groups.setdefault(places, []).append(order)
    return {
        f"{places}{first // MOST_NAMESPACES or ''}": orders[first : first + MOST_NAMESPACES]
        for places, orders in sorted(groups.items())
        for first in range(0, len(orders), MOST_NAMESPACES)
    }


GROUPS = orders_by_rollbacks()
TODAY = int(time.time() // 86_400)
CHOSEN = (
    list(GROUPS) if os.environ.get("CONTROLPLANE") == "all" else [list(GROUPS)[TODAY % len(GROUPS)]]
)
"""One group a day, and all of them with `make orders`."""


class Place:
    """One namespace: whether it is listed, now and in the revision before."""

    def __init__(self, test_cluster: TestCluster) -> None:
        self.cluster = test_cluster.add_namespace(prepared=False)
        self.name = self.cluster.studio
        self.is_listed = self.was_listed = True
        self.unlearned: list[str] = []
        """UIDs of the shards that were deleted."""

    def take(self, step: Step) -> None:
        """Take a step: change what is listed."""
        before, self.was_listed = self.was_listed, self.is_listed
        if step is Step.TOGGLE:
            self.is_listed = not self.is_listed
        elif step is Step.ROLLBACK:
            self.is_listed = before

    def delete(self, shard: str) -> None:
        thing = self.cluster.get(shard)
        assert thing
        self.unlearned.append(uid_of(thing))
        self.cluster.delete(shard)

    def await_receipt(self, shard: str) -> float:
        """Wait until a shard that was deleted is gone, and each deletion so far has its receipt.

        Returns:
            How long it took, in seconds.
        """

        def is_done() -> bool:
            gone = self.cluster.get(shard) is None
            return gone and len(self.receipts()) == len(self.unlearned)

        def is_explained() -> bool:
            return bool(self.cluster.condition(shard, "Unlearned")["message"])

        began_s = time.monotonic()
        what = f"{self.name} unlearned {shard}"
        explained = f"{what}, or says why not"
        self.cluster.until(lambda: is_done() or is_explained(), explained, MESSAGE_WITHIN_S)
        self.cluster.until(is_done, what, PATIENCE_S)
        return time.monotonic() - began_s

    def receipts(self) -> list[Json]:
        return [receipt["spec"] for receipt in self.cluster.receipts()]

    def nothing_is_lost(self) -> None:
        """Check the Soup, its shards, and what the operator needs in the namespace."""
        cluster, admin = self.cluster, self.cluster.admin
        things: list[Json | None] = [cluster.get("soup", SOUPS), cluster.get("food")]
        things.append(admin.get(BINDINGS, self.name, "stockpot-operator"))
        for thing in things:
            assert thing
            assert FINALIZER in thing["metadata"]["finalizers"]
            assert "deletionTimestamp" not in thing["metadata"]
        assert admin.get(ACCOUNTS, self.name, "stockpot-workload")
        assert admin.get(SECRETS, self.name, "stockpot-store-default-workload")
        specs = self.receipts()
        numbers = sorted(spec["sequence"] for spec in specs)
        assert numbers == list(range(1, len(self.unlearned) + 1))
        assert [spec["completeness"] for spec in specs] == ["Complete"] * len(specs)
        assert sorted(spec["shard"]["uid"] for spec in specs) == sorted(self.unlearned)


def test_all_orders_are_played() -> None:
    played = [order for group in GROUPS.values() for order in group]

    assert len(played) == len(set(played)) == 3**STEPS


@pytest.mark.parametrize("group", CHOSEN)
def test_no_order_loses_anything_or_hangs(
    empty_cluster: TestCluster, figure: Figure, group: str
) -> None:
    test_cluster = empty_cluster
    orders, release = GROUPS[group], ChartRelease(test_cluster)
    anchor = test_cluster.add_namespace(prepared=False).studio
    places = [Place(test_cluster) for _ in orders]
    try:
        release.upgrade([anchor, *(place.name for place in places)])
        release.upgrade([anchor, *(place.name for place in places)])
        operator = release.operator()
        for place in places:
            place.cluster.soup()
            place.cluster.shard("food")
            place.cluster.shard("step-0")
        for place in places:
            place.cluster.learnt("food", "step-0", within_s=PATIENCE_S)
        slowest_s = 0.0
        for number, steps in enumerate(zip(*orders, strict=True)):
            began_s = time.monotonic()
            for place, step in zip(places, steps, strict=True):
                place.take(step)
            listed = [anchor, *(place.name for place in places if place.is_listed)]
            is_rollback = Step.ROLLBACK in steps
            operator = play(release, operator, places, listed, number, is_rollback=is_rollback)
            slowest_s = max(slowest_s, time.monotonic() - began_s)
    finally:
        for operator in test_cluster.operators:
            operator.kill()
        release.uninstall()
    figure(f"seconds that the slowest of {STEPS} steps of {len(orders)} orders took", slowest_s)


def play(
    release: ChartRelease,
    operator: Operator,
    places: list[Place],
    listed: list[str],
    number: int,
    *,
    is_rollback: bool,
) -> Operator:
    """Change the list, and replace the operator; a shard of each namespace is deleted meanwhile."""
    going, coming = f"step-{number}", f"step-{number + 1}"
    for place in places:
        place.delete(going)
    change(release, places, listed, is_rollback=is_rollback)
    operator.end()
    operator = release.operator()
    for place in places:
        place.await_receipt(going)
        place.cluster.shard(coming)
    for place in places:
        place.cluster.learnt("food", coming, within_s=PATIENCE_S)
        place.nothing_is_lost()
        assert is_announced(operator, place) is not place.is_listed
        assert place.name in pinned(place.cluster)
    return operator


def change(
    release: ChartRelease, places: list[Place], listed: list[str], *, is_rollback: bool
) -> None:
    """Have the check refuse what drops a namespace by name, and then change the list anyway."""
    before = release.settings()["workloadNamespaces"]
    dropped = [place.name for place in places if place.name in set(before) - set(listed)]
    checked = release.check(listed)
    assert (checked.returncode != 0) is bool(dropped), checked.stderr
    assert "workloadNamespaces drops namespaces" in checked.stderr or not dropped
    for name in dropped:
        assert f"Soup {name}/soup" in checked.stderr or " more" in checked.stderr
    if is_rollback:
        release.rollback(lists_again=bool(set(listed) - set(before)))
    else:
        release.upgrade(listed)
    assert release.settings()["workloadNamespaces"] == listed


def is_announced(operator: Operator, place: Place) -> bool:
    """Whether this operator says that a namespace was dropped, and what to do."""
    return any(
        "not in workloadNamespaces any more" in line["message"]
        and line["namespace"] == place.name
        and "add it to workloadNamespaces again" in line["help"]
        for line in operator.log_lines()
    )


def pinned(test_cluster: TestCluster) -> str:
    lease = test_cluster.mirror.get(LEASES, test_cluster.release, LEASE)
    return annotations_on(lease)[ANNOTATION] if lease else ""
