"""Any sequence of changes, crashes, stale reads and deposed leaders: the invariants hold.

The rounds, edits, views and the servers' grants are the real ones; only files and processes are
played. Mutants show that the machine would notice a planner that forgets a clause.
"""

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.simulate.kitchen import Died, Kitchen

from stockpot.api.v1alpha1 import FINALIZER
from stockpot.core import checks
from stockpot.core.actions import IRREVOCABLE, Action
from stockpot.core.checks import Stage
from stockpot.reconcile.apply import apply
from stockpot.reconcile.loop import observe
from stockpot.serving import grants

NAMES = ("ants", "bees", "cats", "dogs")


def require(kitchen: Kitchen) -> None:
    """What has to be true at every moment."""
    for uid in kitchen.released:
        assert uid in kitchen.completed(), (
            f"{uid} went without a receipt that says that all is gone"
        )
    for uid in kitchen.completed():
        assert uid in kitchen.store.tombstones
        assert not list(kitchen.traces_of(uid)), f"{uid} was said to be gone"
    for recipe in kitchen.promoted_and_served():
        assert f"revisions/{recipe}" in kitchen.store.artefacts, "purged before others served"
    made = {uid for uids in kitchen.store.artefacts.values() for uid in uids}
    for uid, shard in kitchen.shards.items():
        is_held = FINALIZER in shard.metadata.finalizers or uid in kitchen.bared
        assert uid not in made or is_held, f"{uid} could vanish"
    recorded = {one.uid for one in kitchen.soup.status.serving.granted}
    for uid, pod in kitchen.pods.items():
        held = grants.report(pod.holdings).holds
        assert not held or uid in recorded, f"{uid} was granted something, and nobody wrote it down"
    assert len(set(kitchen.trained)) == len(kitchen.trained), "a shard was trained twice"


def require_rest(kitchen: Kitchen) -> None:
    """What has to be true once nothing is left to do."""
    require(kitchen)
    living = set(kitchen.living())
    for name, uids in kitchen.store.artefacts.items():
        left = uids - living - kitchen.untraceable
        assert not left, f"{name} is of shards that are no more: {left}"
    assert all(not shard.metadata.deletion_timestamp for shard in kitchen.shards.values())
    for uid in kitchen.stripped - kitchen.untraceable:
        assert uid in kitchen.completed(), f"{uid} went by force, and has no receipt"


class History(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.kitchen = Kitchen()
        self.old_orders: list[tuple[Action, ...]] = []

    @initialize(names=st.sets(st.sampled_from(NAMES), max_size=3))
    def begin(self, names: set[str]) -> None:
        for name in sorted(names):
            self.kitchen.add(name)

    @rule(name=st.sampled_from(NAMES))
    def somebody_adds_a_shard(self, name: str) -> None:
        taken = {shard.metadata.name for shard in self.kitchen.shards.values()}
        if name not in taken:
            self.kitchen.add(name)

    @precondition(lambda self: self.kitchen.living())
    @rule(data=st.data())
    def somebody_deletes_a_shard(self, data: st.DataObject) -> None:
        self.kitchen.delete(data.draw(st.sampled_from(self.kitchen.living())))

    @rule()
    def a_round(self) -> None:
        one = self.kitchen.round()
        if one:
            self.old_orders.append(one.plan.actions)

    @rule(after=st.integers(0, 4))
    def a_round_in_which_the_operator_dies(self, after: int) -> None:
        self.kitchen.round(dies_after=after)

    @rule(by=st.integers(1, 6))
    def a_round_on_a_stale_cache(self, by: int) -> None:
        self.kitchen.round(stale_by=by)

    @precondition(lambda self: self.old_orders)
    @rule(data=st.data())
    def a_deposed_leader_wakes_up_and_does_what_it_meant_to(self, data: st.DataObject) -> None:
        kitchen = self.kitchen
        actions = data.draw(st.sampled_from(self.old_orders))
        seen, world = observe(kitchen.ports, fresh=True)
        assert world is not None
        for action in actions:
            if isinstance(action, IRREVOCABLE):
                continue  # Looked at afresh right before it is done, so it is never late.
            try:
                apply(action, seen, world, kitchen.ports, kitchen.now)
            except (StopIteration, KeyError, Died):
                return  # It names a shard that is gone: the process ends with a traceback.

    @precondition(lambda self: self.kitchen.active())
    @rule(data=st.data())
    def a_run_ends_well(self, data: st.DataObject) -> None:
        self.kitchen.finish(data.draw(st.sampled_from(self.kitchen.active())))

    @precondition(lambda self: self.kitchen.active())
    @rule(data=st.data())
    def a_run_is_killed(self, data: st.DataObject) -> None:
        self.kitchen.crash(data.draw(st.sampled_from(self.kitchen.active())))

    @rule()
    def servers_get_on(self) -> None:
        self.kitchen.move_pods()

    @precondition(lambda self: self.kitchen.pods)
    @rule(data=st.data())
    def a_server_restarts(self, data: st.DataObject) -> None:
        self.kitchen.restart(data.draw(st.sampled_from(sorted(self.kitchen.pods))))

    @precondition(lambda self: self.kitchen.pods)
    @rule(data=st.data(), silent=st.booleans())
    def a_server_falls_silent_or_answers_again(self, data: st.DataObject, silent: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.kitchen.pods)))
        self.kitchen.silence(name, silent=silent)

    @precondition(lambda self: self.kitchen.seen_pods())
    @rule(data=st.data())
    def a_server_is_replaced(self, data: st.DataObject) -> None:
        self.kitchen.replace(data.draw(st.sampled_from(self.kitchen.seen_pods())))

    @precondition(lambda self: self.kitchen.seen_pods())
    @rule(data=st.data())
    def somebody_deletes_a_server_by_force(self, data: st.DataObject) -> None:
        self.kitchen.delete_by_force(data.draw(st.sampled_from(self.kitchen.seen_pods())))

    @precondition(lambda self: self.kitchen.unseen_pods())
    @rule(data=st.data())
    def a_lost_node_is_said_to_be_out_of_service(self, data: st.DataObject) -> None:
        self.kitchen.end_unseen(data.draw(st.sampled_from(self.kitchen.unseen_pods())))

    @precondition(lambda self: self.kitchen.active())
    @rule(data=st.data())
    def a_run_is_stopped_and_lost_from_sight(self, data: st.DataObject) -> None:
        self.kitchen.freeze(data.draw(st.sampled_from(self.kitchen.active())))

    @precondition(lambda self: self.kitchen.frozen)
    @rule(data=st.data())
    def a_run_that_was_stopped_goes_on(self, data: st.DataObject) -> None:
        self.kitchen.thaw(data.draw(st.sampled_from(sorted(self.kitchen.frozen))))

    @precondition(lambda self: self.kitchen.shards)
    @rule(data=st.data())
    def somebody_takes_a_finalizer_away(self, data: st.DataObject) -> None:
        self.kitchen.strip(data.draw(st.sampled_from(sorted(self.kitchen.shards))))

    @rule(count=st.integers(0, 2))
    def strays_are_in_the_store(self, count: int) -> None:
        self.kitchen.store.strays = count

    @rule(minutes=st.sampled_from((1, 10, 90)))
    def time_passes(self, minutes: int) -> None:
        self.kitchen.now += timedelta(minutes=minutes)

    @invariant()
    def the_invariants_hold(self) -> None:
        require(self.kitchen)

    def teardown(self) -> None:
        """From here on all goes well: it settles, in what a fresh kitchen would settle in."""
        kitchen = self.kitchen
        kitchen.settle()
        twin = Kitchen()
        for uid in kitchen.living():
            twin.add(kitchen.shards[uid].metadata.name)
        twin.settle()
        assert kitchen.served() == twin.served()
        require_rest(kitchen)


def explore(examples: int, steps: int = 40) -> None:
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_history_settles_and_the_invariants_hold_at_each_step() -> None:
    explore(examples=int(os.environ.get("HISTORIES", "40")))


def everything_lags(kitchen: Kitchen) -> None:
    """One history on which each rung of the ladder is needed: servers drop nothing for a while.

    A shard is deleted while it is served; runs end one at a time, and every step is looked at.
    """
    kitchen.add("cats")
    kitchen.add("dogs")
    kitchen.settle()
    [dogs] = [uid for uid, shard in kitchen.shards.items() if shard.metadata.name == "dogs"]
    kitchen.delete(dogs)
    for _ in range(40):
        kitchen.round()
        require(kitchen)
        if kitchen.active():
            kitchen.finish(kitchen.active()[0])
        require(kitchen)
        kitchen.move_pods(dropping=False)
        require(kitchen)
    assert dogs in kitchen.shards, "a server still holds it"
    kitchen.settle()
    require(kitchen)
    assert dogs in kitchen.released


def test_a_deletion_waits_for_whatever_lags() -> None:
    everything_lags(Kitchen())


@pytest.mark.parametrize(
    "stage", [Stage.EXCLUDED, Stage.ROLLED_OUT, Stage.PURGED, Stage.VERIFIED, Stage.RECEIPTED]
)
def test_a_ladder_without_this_rung_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = {k: v for k, v in checks.UNLEARNING.items() if k is not stage}
    monkeypatch.setattr(checks, "UNLEARNING", rungs)

    with pytest.raises(AssertionError):
        everything_lags(Kitchen())


def test_a_settled_kitchen_writes_nothing() -> None:
    kitchen = Kitchen()
    kitchen.add("cats")
    kitchen.settle()
    before = kitchen.seen()

    one = kitchen.round()

    assert one is not None
    assert one.plan.actions == ()
    assert kitchen.seen() == before


def test_the_order_of_applying_does_not_matter() -> None:
    def served(*names: str) -> set[str]:
        kitchen = Kitchen()
        for name in names:
            kitchen.add(name)
            kitchen.settle()
        return kitchen.served()

    assert served("cats", "dogs", "bees") == served("bees", "cats", "dogs")
