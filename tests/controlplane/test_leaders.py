"""The leader may be killed at any step: another takes over, and the end is the same."""

import os
import time

import pytest
from tests.controlplane.conftest import Figure
from tests.controlplane.testbed import Operator, TestCluster

from stockpot.cluster.apiserver.resources import SOUPS

STEPS = [
    *("HoldSoup", "HoldShard", "Scale", "StartTraining", "RecordIngredient", "StartMerge"),
    *("RecordRevision", "Promote", "Prepare", "Commit", "StartEvaluation", "RecordEvaluation"),
    *("EndRun", "RecordDeletion", "StartPurge", "StartSigning", "RecordReceipt", "ForgetRevision"),
    *("ReleaseShard", "ReleaseSoup"),
]
"""In about the order in which they come for the first time."""
DEATHS = [f"{when}:{step}" for step in STEPS for when in ("before", "after")]
TODAY = int(time.time() // 86_400)
CHOSEN = (
    DEATHS
    if os.environ.get("CONTROLPLANE") == "all"
    else [DEATHS[(2 * TODAY + n) % len(DEATHS)] for n in range(2)]
)
"""Two of them a day, and all of them with CONTROLPLANE=all."""
FAILOVER_S = 20.0
PATIENCE_S = 60.0


def stands_by(operator: Operator) -> bool:
    return any(line["message"] == "standing by" for line in operator.log_lines())


def test_a_leader_that_ends_in_good_order_is_followed_at_once(
    test_cluster: TestCluster, figure: Figure
) -> None:
    first = test_cluster.operator("first")
    test_cluster.until(lambda: test_cluster.leader() == "first", "the first leads")
    second = test_cluster.operator("second")
    test_cluster.until(lambda: stands_by(second), "the second stands by")

    code = first.end()
    took_s = test_cluster.until(lambda: test_cluster.leader() == "second", "the second leads")

    figure("seconds until another leads after a good end", took_s)
    assert code == 0


@pytest.mark.parametrize("death", CHOSEN)
def test_a_leader_that_is_killed_changes_nothing_but_the_time(
    test_cluster: TestCluster, figure: Figure, death: str
) -> None:
    first = test_cluster.operator("first", dies=death)
    test_cluster.until(lambda: test_cluster.leader() == "first", "the first leads")
    second = test_cluster.operator("second")
    test_cluster.until(lambda: stands_by(second), "the second stands by")
    killed_s: list[float] = []

    def until(so: bool, what: str) -> bool:
        del what
        if not killed_s and first.process.poll() is not None:
            killed_s.append(time.monotonic())
        if killed_s and len(killed_s) == 1 and test_cluster.leader() == "second":
            killed_s.append(time.monotonic())
        return so

    test_cluster.soup(evaluation={"suite": [{"name": "samples"}]})
    food, travel = test_cluster.shard("food"), test_cluster.shard("travel")
    test_cluster.until(
        lambda: until(
            all(test_cluster.is_so(name, "Ready") for name in ("food", "travel"))
            and test_cluster.is_so("soup", "Ready", SOUPS)
            and test_cluster.is_so("soup", "Evaluated", SOUPS),
            "learnt",
        ),
        "learnt",
        PATIENCE_S,
    )
    learnt = test_cluster.serving()
    test_cluster.delete("food")
    test_cluster.until(
        lambda: until(test_cluster.get("food") is None, "forgotten"), "forgotten", PATIENCE_S
    )
    survived = test_cluster.serving()
    test_cluster.delete("travel")
    test_cluster.delete("soup", SOUPS)
    test_cluster.until(
        lambda: until(test_cluster.get("soup", SOUPS) is None, "gone"), "gone", PATIENCE_S
    )

    test_cluster.until(lambda: until(first.process.poll() == -9, ""), "the step comes")
    test_cluster.until(lambda: until(len(killed_s) == 2, ""), "another leads")
    figure(f"seconds of failover, killed {death}", killed_s[1] - killed_s[0])
    assert killed_s[1] - killed_s[0] < FAILOVER_S
    assert learnt == [{food, travel}]
    assert survived == [{travel}]
    assert [receipt["spec"]["shard"]["uid"] for receipt in test_cluster.receipts()] == [
        food,
        travel,
    ]
    trained = test_cluster.posted("train")
    assert len(trained) == 2, "a shard was trained twice"
    # A merge that nobody waits for is ended; where it is wanted again its Job has the same name.
    for verb in ("train", "merge", "evaluate"):
        assert all(name.endswith("-1") for name in test_cluster.posted(verb)), (
            "a run was tried twice"
        )
