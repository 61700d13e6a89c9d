"""The conditions of the demo's story, as a file, each judged by what servers answer at that moment.

Runs are held at each step, so that what the operator writes there can be read at leisure. The file
is written by `make golden`; who changes it reads it.

Invariant 20.
"""

import os
from collections.abc import Callable
from pathlib import Path

from tests.controlplane.admin import Happening
from tests.controlplane.kubelet import Order
from tests.controlplane.testbed import TestCluster

from stockpot.cluster.apiserver.objects import Json, condition_of, namespace_of
from stockpot.cluster.apiserver.resources import SOUPS

STORY = Path(__file__).with_name("conditions_of_the_story.txt")
TYPES = (
    *("Ready", "Reconciling", "Stalled", "MembersHeld", "Serving", "Unlearning"),
    *("Trained", "Included", "Unlearned"),
)


class Judge:
    """Asks the servers whenever a Soup says that it is Ready."""

    def __init__(self, test_cluster: TestCluster) -> None:
        self._cluster = test_cluster
        self.judged = 0
        self.lies: list[str] = []
        test_cluster.mirror.listeners.append(self._hear)

    def end(self) -> None:
        self._cluster.mirror.listeners.remove(self._hear)

    def _hear(self, happening: Happening) -> None:
        thing = happening.thing
        if happening.resource != SOUPS or namespace_of(thing) != self._cluster.studio:
            return
        if condition_of(thing, "Ready") is None:
            return
        self.judged += 1
        current = thing["status"]["currentRevision"]
        claimed = {pair["shard"] for pair in current.get("lineage", ())}
        answers = [server for server in self._cluster.serving() if server is not None]
        if not answers or any(set(answer) != claimed for answer in answers):
            self.lies.append(
                f"Ready with {sorted(claimed)}, and servers answer {answers}: {thing['status']}"
            )


class Scribe:
    """Writes down what a person reads of the Soup and its shards at each step."""

    def __init__(self, test_cluster: TestCluster) -> None:
        self._cluster = test_cluster
        self.lines: list[str] = []

    def step(self, title: str, soup: str, **shards: str) -> None:
        """Wait until the Soup and these shards have these states, then write all down.

        Args:
            title: What has happened.
            soup: The Soup's `status.state`, and the reason of its condition Ready.
            shards: Each shard's.
        """

        def is_so() -> bool:
            states = {name: state_of(self._cluster.get(name)) for name in shards}
            ready = self._cluster.condition("soup", "Ready", SOUPS)
            now = f"{state_of(self._cluster.get('soup', SOUPS))} {ready['reason']}"
            return now == soup and states == shards

        self._cluster.until(is_so, f"{title}: the Soup is {soup}, and shards {shards}")
        self.lines += ["", title, f"  soup    {described(self._cluster.get('soup', SOUPS))}"]
        self.lines += [
            f"  {name:<7} {described(self._cluster.get(name))}" for name in sorted(shards)
        ]


def state_of(thing: Json | None) -> str:
    return str((thing or {}).get("status", {}).get("state", ""))


def described(thing: Json | None) -> str:
    assert thing
    parts = [state_of(thing)]
    parts += [
        f"{kind}={status}/{condition['reason']}"
        for kind in TYPES
        for status in ("True", "False")
        if (condition := condition_of(thing, kind, status))
    ]
    return "  ".join(parts)


def test_every_condition_of_the_story_is_true(
    test_cluster: TestCluster, figure: Callable[[str, object], None]
) -> None:
    judge, scribe = Judge(test_cluster), Scribe(test_cluster)
    kubelet = test_cluster.kubelet
    try:
        tell(test_cluster, scribe)
    finally:
        judge.end()

    text = "\n".join(scribe.lines).strip() + "\n"
    if os.environ.get("GOLDEN") == "write":
        STORY.write_text(text)
    assert not judge.lies, "\n".join(judge.lies)
    assert judge.judged > 10
    assert kubelet.servers() == []
    assert STORY.read_text() == text, "conditions read otherwise now; if they should: make golden"
    figure("times that the Soup said Ready, and servers agreed", judge.judged)


def tell(test_cluster: TestCluster, scribe: Scribe) -> None:
    kubelet = test_cluster.kubelet
    test_cluster.operator()
    # All three join together, so that there is one merge to hold.
    test_cluster.soup(membership={"settleSeconds": 0, "minShards": 3})
    scribe.step("a Soup without shards", "Pending NoShards")

    kubelet.order(Order("train", hold=True))
    test_cluster.soup_spec(training={"parallelism": 2})
    for name in ("animals", "food", "travel"):
        test_cluster.shard(name)
    two = {"animals": "Training", "food": "Training"}
    scribe.step("three shards, and two slots", "Training Training", **two, travel="Queued")

    kubelet.order(Order("merge", hold=True))
    kubelet.forget("train")
    trained = dict.fromkeys(("animals", "food", "travel"), "Trained")
    scribe.step("they are trained, and merged", "Merging Merging", **trained)

    kubelet.forget_orders()
    included = dict.fromkeys(trained, "Included")
    scribe.step("they are served", "Serving Settled", **included)

    kubelet.order(Order("merge", hold=True))
    test_cluster.change("food", {"weight": "2"})
    scribe.step("a weight is changed", "Merging Merging", **included)
    kubelet.forget_orders()
    scribe.step("it is served", "Serving Settled", **included)

    test_cluster.soup_spec(suspend=True)
    test_cluster.shard("objects")
    scribe.step("a shard comes to a suspended Soup", "Held Settled", **included, objects="Held")
    kubelet.order(Order("train", shard="objects", exit_code=42, problem="a.png has no caption"))
    test_cluster.soup_spec(suspend=False)
    scribe.step("its training fails for good", "Stalled BadData", **included, objects="Stalled")
    kubelet.forget_orders()
    test_cluster.kubectl("annotate", "shard", "objects", "stockpot.dev/retry=1")
    scribe.step(
        "its data is mended, and it is asked for", "Serving Settled", **included, objects="Included"
    )

    test_cluster.change("objects", {"inclusion": "Excluded"})
    scribe.step("it is set aside", "Serving Settled", **included, objects="Excluded")

    kubelet.order(Order("purge", hold=True))
    test_cluster.delete("travel")
    left = {"animals": "Included", "food": "Included", "objects": "Excluded"}
    scribe.step("a shard is deleted, and purged", "Unlearning Settled", **left, travel="Unlearning")
    kubelet.forget_orders()
    test_cluster.forgotten("travel")
    scribe.step("it is unlearned", "Serving Settled", **left)

    for name in ("animals", "food", "objects"):
        test_cluster.delete(name)
    for name in ("animals", "food", "objects"):
        test_cluster.forgotten(name)
    scribe.step("all are unlearned, and the base is served", "Serving Settled")

    test_cluster.delete("soup", SOUPS)
    test_cluster.until(lambda: test_cluster.get("soup", SOUPS) is None, "the Soup is gone")
    test_cluster.until(lambda: not kubelet.servers(), "and its servers")
