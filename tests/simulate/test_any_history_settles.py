"""Any sequence of changes, crashes, stale reads and deposed leaders: the invariants hold.

The rounds, edits, views and the servers' grants are the real ones; only files and processes are
played. Mutants show that the histories would notice a planner that forgets a clause.

Invariants 2, 3, 6, 8, 16.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.plugins import install
from tests.simulate.histories import WITH_WEIGHTINGS, History, require, require_rest
from tests.simulate.kitchen import Kitchen
from tests.simulate.moody import MOODS, PACKAGE
from tests.simulate.mutants import MUTANTS

from stockpot import extensions
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import SignRun
from stockpot.api.training import Named
from stockpot.core.actions import DueReceipt, StartSigning, run_name
from stockpot.core.recipe import ShardUID
from stockpot.core.runs import RunName

HISTORIES = int(os.environ.get("HISTORIES", "60"))
FIRST_SEED = int(os.environ.get("SEED", int(time.time()) // 86_400 * 1_000_000))
"""Other histories every day; the seed of one that fails stands in its traceback."""


@pytest.fixture(autouse=True)
def moody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A package that brings a weighting which breaks."""
    install(monkeypatch, tmp_path, "moody", PACKAGE, {"stockpot.weighting": {"Moody": "Moody"}})
    yield
    extensions.forget()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_settles_and_the_invariants_hold_at_each_step() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        History(seed).live()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_in_which_the_weighting_breaks_settles_once_it_is_mended() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES // 2):
        History(seed, WITH_WEIGHTINGS).live()


@pytest.mark.parametrize(
    "seed",
    [
        83,
        84,
        522,
        1402,
        1751,
        4226,
        5329,
        5676,
        6557,
        7504,
        7724,
        11428,
        12635,
        14023,
        18270,
        18386,
        19995,
    ],
)
def test_a_history_that_once_failed_settles(seed: int) -> None:
    History(seed).live()


def kitchen_of(*names: str) -> Kitchen:
    """One that serves these."""
    kitchen = Kitchen()
    for name in names:
        kitchen.add(name)
    kitchen.settle()
    return kitchen


def uid_of(kitchen: Kitchen, name: str) -> str:
    [uid] = [uid for uid, shard in kitchen.shards.items() if shard.metadata.name == name]
    return uid


def go_on(kitchen: Kitchen, *, dropping: bool = True, rounds: int = 40) -> None:
    """Let runs end one at a time, and look at every step."""
    for _ in range(rounds):
        kitchen.round()
        require(kitchen)
        if ready := kitchen.runs.active():
            kitchen.runs.finish(ready[0], kitchen.now)
        require(kitchen)
        kitchen.confirm_ends()
        kitchen.pods.move(dropping=dropping)
        require(kitchen)


def everything_lags() -> None:
    """One history on which each rung of the ladder is needed: servers drop nothing for a while."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    kitchen.delete(dogs)
    go_on(kitchen, dropping=False)
    assert dogs in kitchen.shards, "a server still holds it"
    kitchen.settle()
    require(kitchen)
    assert dogs in kitchen.released


def a_server_is_lost() -> None:
    """A pod is deleted by force while its process goes on, with a shard that is deleted then."""
    kitchen = kitchen_of("cats", "dogs")
    dogs, lost = uid_of(kitchen, "dogs"), kitchen.pods.seen()[0]
    kitchen.pods.delete_by_force(lost)
    kitchen.delete(dogs)
    go_on(kitchen)
    assert not kitchen.store.receipts, "nobody has confirmed its end"
    kitchen.now += timedelta(hours=2)
    go_on(kitchen)
    assert kitchen.store.receipts == [(dogs, False)], "the deadline has passed: it says so, once"
    assert dogs in kitchen.shards
    kitchen.pods.end(lost)
    kitchen.settle()
    require_rest(kitchen)
    assert kitchen.store.receipts == [(dogs, False), (dogs, True)]


def a_writer_has_looked_a_last_time() -> None:
    """A training is deleted when it has seen that no tombstone stands, and has not written yet.

    It is asked to end, and writes all the same before its end is confirmed.
    """
    kitchen = kitchen_of("cats")
    kitchen.add("dogs")
    while not (writers := kitchen.runs.active(RunKind.TRAIN)):
        kitchen.round()
    [name] = writers
    writer = kitchen.runs.known[name]
    writer.is_cleared = True
    dogs = uid_of(kitchen, "dogs")
    kitchen.delete(dogs)
    for _ in range(12):
        kitchen.round()
        require(kitchen)
        for other in kitchen.runs.active():
            if other != name:
                kitchen.runs.finish(other, kitchen.now)
        kitchen.pods.move()
        require(kitchen)
    assert writer.is_ending
    assert RunKind.PURGE not in {run.spec.kind for run in kitchen.runs.known.values()}
    kitchen.runs.finish(name, kitchen.now)
    require(kitchen)
    kitchen.settle()
    require_rest(kitchen)
    assert dogs in kitchen.released


def strays_are_left() -> None:
    """Objects of unknown lineage are in the store, until somebody takes them away."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    kitchen.store.strays = 2
    kitchen.delete(dogs)
    go_on(kitchen)
    assert kitchen.store.receipts == [(dogs, False)]
    assert dogs in kitchen.shards
    before = kitchen.seen()
    kitchen.round()
    assert kitchen.seen() == before, "nothing is written between two looks"
    kitchen.settle()
    require_rest(kitchen)
    assert kitchen.store.receipts == [(dogs, False), (dogs, True)]


def a_writer_wakes_up_after_the_receipt() -> None:
    """It was stopped before it published, on a node that nobody sees; it goes on a day later."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    kitchen.add("bees")
    while not (writers := kitchen.runs.active(RunKind.MERGE)):
        kitchen.round()
        for name in kitchen.runs.active():
            if kitchen.runs.known[name].spec.kind is not RunKind.MERGE:
                kitchen.runs.finish(name, kitchen.now)
    [name] = writers
    kitchen.runs.known[name].is_cleared = True
    kitchen.runs.freeze(name)
    kitchen.delete(dogs)
    frozen = kitchen.runs.frozen
    kitchen.runs.frozen = {}
    kitchen.settle()
    assert dogs in kitchen.store.completed()
    kitchen.now += timedelta(days=1)
    kitchen.runs.frozen = frozen
    kitchen.runs.thaw(name)
    assert kitchen.runs.late, "it wrote what it was about to"
    go_on(kitchen)
    assert not any(dogs in uids for uids in kitchen.store.artefacts.values())
    require_rest(kitchen)


def the_store_comes_back_from_a_backup() -> None:
    """What was purged is there again, without tombstone or receipt."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    backup = copy.deepcopy(kitchen.store)
    kitchen.delete(dogs)
    kitchen.settle()
    newest = copy.deepcopy(kitchen.store)
    cats_alone = kitchen.served()
    kitchen.now += timedelta(minutes=10)
    kitchen.store.restore(backup)
    for _ in range(12):
        kitchen.round()
        for name in kitchen.runs.active():
            kitchen.runs.finish(name, kitchen.now)
        kitchen.confirm_ends()
        kitchen.pods.move()
    assert kitchen.served() == the_base(), "nobody can say what may be served"
    assert not kitchen.store.receipts, "nothing is signed onto it"
    assert dogs in kitchen.store.tombstones, "what was forgotten is removed once more"
    kitchen.store.receipts = newest.receipts
    for name, revision in list(kitchen.revisions.items()):
        if f"revisions/{revision.spec.recipe_digest}" not in kitchen.store.artefacts:
            del kitchen.revisions[name]
    kitchen.settle()
    assert dogs in kitchen.store.tombstones
    assert kitchen.served() == cats_alone
    require_rest(kitchen)


def the_objects_come_back_from_a_backup() -> None:
    """A shard that was forgotten is there again, and the Soup knows of no receipt."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    backup = kitchen.seen()
    kitchen.delete(dogs)
    kitchen.settle()
    receipts, cats_alone = dict(kitchen.receipts), kitchen.served()
    kitchen.restore(backup)
    assert dogs in kitchen.living()
    for _ in range(8):
        kitchen.round()
        kitchen.pods.move()
        require(kitchen)
    assert kitchen.served() == the_base(), "nobody can say what may be served"
    kitchen.receipts |= receipts
    kitchen.settle()
    assert kitchen.served() == cats_alone
    assert not list(kitchen.traces_of(dogs)), "its object is back, and nothing of it"
    kitchen.delete(dogs)
    kitchen.settle()
    require_rest(kitchen)
    assert dogs not in kitchen.shards


def the_base() -> set[str]:
    """What is served where nothing was learnt."""
    return kitchen_of().served()


def a_finalizer_is_taken_away() -> None:
    """Somebody takes it away, and the object with it: what it left behind names it still."""
    kitchen = kitchen_of("cats", "dogs")
    dogs = uid_of(kitchen, "dogs")
    kitchen.strip(dogs)
    kitchen.delete(dogs)
    assert dogs not in kitchen.shards
    kitchen.settle()
    require_rest(kitchen)
    assert kitchen.store.receipts == [(dogs, True)]


def everything_goes_at_once() -> None:
    """A folder is deleted, as `kubectl delete -f` does it; the operator dies after any step."""
    for dies_after in range(12):
        kitchen = kitchen_of("ants", "bees", "cats")
        for uid in kitchen.living():
            kitchen.delete(uid)
        kitchen.delete_soup()
        for _ in range(20):
            kitchen.round(dies_after=dies_after)
            require(kitchen)
            kitchen.confirm_ends()
            for name in kitchen.runs.active():
                kitchen.runs.finish(name, kitchen.now)
            kitchen.pods.move()
            require(kitchen)
        kitchen.settle()
        require_rest(kitchen)
        assert kitchen.is_soup_gone
        assert len(kitchen.receipts) == 3


def until_signing(kitchen: Kitchen) -> list[RunName]:
    """Let all go well until runs sign that have not ended, and return their names."""
    for _ in range(40):
        kitchen.round()
        require(kitchen)
        if signs := kitchen.runs.active(RunKind.SIGN):
            return signs
        for name in kitchen.runs.active():
            kitchen.runs.finish(name, kitchen.now)
        kitchen.confirm_ends()
        kitchen.pods.move()
    raise AssertionError("nothing was signed")


def two_sign_runs_end_out_of_order() -> None:
    """A leader that was deposed began one, its successor another; the first to end is seen last."""
    for dies_after in range(8):
        kitchen = kitchen_of("cats", "dogs", "eels")
        cats, dogs = uid_of(kitchen, "cats"), uid_of(kitchen, "dogs")
        kitchen.delete(cats)
        kitchen.delete(dogs)
        [both] = until_signing(kitchen)
        spec = kitchen.runs.known.pop(both).spec
        assert isinstance(spec, SignRun)
        for request in spec.receipts:
            start = StartSigning((DueReceipt(ShardUID(request.shard.uid)),))
            one = spec.model_copy(update={"receipts": (request,)})
            kitchen.ports.runs.start(run_name(start), start.lineage, one)
        first, second = kitchen.runs.active()
        kitchen.runs.finish_unseen(first, kitchen.now)
        kitchen.runs.finish(second, kitchen.now)
        for _ in range(3):
            kitchen.round()
            require(kitchen)
        kitchen.runs.reveal(first, kitchen.now)
        for _ in range(6):
            kitchen.round(dies_after=dies_after)
            require(kitchen)
        kitchen.settle()
        require_rest(kitchen)


def a_namespace_goes() -> None:
    """What is unlearned is on record in the shards' own status, for no object can be created."""
    for dies_after in (None, 0, 1, 2, 3, 4, 5):
        kitchen = kitchen_of("cats", "dogs")
        uids = set(kitchen.living())
        kitchen.delete_namespace()
        for _ in range(20):
            kitchen.round(dies_after=dies_after)
            require(kitchen)
            kitchen.confirm_ends()
            for name in kitchen.runs.active():
                kitchen.runs.finish(name, kitchen.now)
            require(kitchen)
        kitchen.settle()
        require_rest(kitchen)
        assert kitchen.is_soup_gone
        assert kitchen.store.completed() == uids


def the_weighting_breaks() -> None:
    """A deletion goes on whatever it does; who is new waits until it is mended."""
    for mood in MOODS:
        kitchen = kitchen_of("cats", "dogs", "eels")
        dogs = uid_of(kitchen, "dogs")
        kitchen.weigh_by(Named(name="Moody", options={"mood": mood}))
        kitchen.add("bees")
        kitchen.delete(dogs)
        kitchen.settle()
        require(kitchen)
        assert kitchen.store.receipts == [(dogs, True)], mood
        told = {condition.type: condition.reason for condition in kitchen.soup.status.conditions}
        if mood == "nothing":
            assert kitchen.served() == the_base()
            assert told["Ready"] == "Weightless"
        else:
            assert kitchen.served() == kitchen_of("cats", "eels").served(), mood
            assert told["Stalled"] == "WeightingFailed", mood
        kitchen.weigh_by(Named(name="Declared"))
        kitchen.settle()
        assert kitchen.served() == kitchen_of("bees", "cats", "eels").served(), mood
        require_rest(kitchen)


SCENES = (
    everything_goes_at_once,
    two_sign_runs_end_out_of_order,
    a_namespace_goes,
    the_weighting_breaks,
    everything_lags,
    a_server_is_lost,
    a_writer_has_looked_a_last_time,
    strays_are_left,
    a_writer_wakes_up_after_the_receipt,
    a_finalizer_is_taken_away,
    the_store_comes_back_from_a_backup,
    the_objects_come_back_from_a_backup,
)


@pytest.mark.parametrize("inputs", SCENES, ids=lambda inputs: inputs.__name__)
def test_a_deletion_waits_for_whatever_lags(inputs: Callable[[], None]) -> None:
    inputs()


def live_through_everything() -> None:
    for inputs in SCENES:
        inputs()
    for seed in range(60):
        History(seed).live()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planner_that_forgets_a_clause_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTANTS[name](monkeypatch)

    with pytest.raises((AssertionError, StopIteration, KeyError)):
        live_through_everything()


def test_a_settled_kitchen_writes_nothing() -> None:
    kitchen = kitchen_of("cats")
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
