"""Any sequence of changes, crashes, stale reads and deposed leaders: the invariants hold.

Rounds, the reading and writing of objects and the grants of servers are the real ones; only files
and processes are simulated. Mutants show that a planner which forgets a clause would be noticed.

Invariants 2, 3, 6, 8, 16, 20.
"""

import os
import time
from collections.abc import Callable, Iterator

import pytest
from tests.plugins import install
from tests.simulate.cluster import SimulatedCluster
from tests.simulate.faulty_weighting import PACKAGE
from tests.simulate.histories import History
from tests.simulate.moves import MOVES, WITH_DEBTS, WITH_SETTINGS, WITH_WEIGHTINGS
from tests.simulate.mutants import CAUGHT_BY, MUTANTS
from tests.simulate.scenarios import SCENARIOS, cluster_of

from stockpot import extensions

HISTORIES = int(os.environ.get("HISTORIES", "60"))
FIRST_SEED = int(os.environ.get("SEED", int(time.time()) // 86_400 * 1_000_000))
"""Changes every day; the traceback of a history that fails has its seed."""


@pytest.fixture(autouse=True, scope="module")
def faulty_weighting_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install a package with a weighting that fails: entry points are read once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        install(
            patch,
            tmp_path_factory.mktemp("packages"),
            "faulty_package",
            PACKAGE,
            {"stockpot.weighting": {"FaultyWeighting": "FaultyWeighting"}},
        )
        yield
    extensions.forget()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_settles_and_the_invariants_hold_at_each_step() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        History(seed, MOVES).live()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_in_which_the_weighting_breaks_settles_once_it_is_mended() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES // 2):
        History(seed, WITH_WEIGHTINGS).live()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_in_which_soups_and_namespaces_go_before_the_end_pays_every_debt() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        History(seed, WITH_DEBTS).live()


@pytest.mark.timeout(0 if "HISTORIES" in os.environ else 300)
def test_any_history_in_which_settings_change_settles_once_they_are_right() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        History(seed, WITH_SETTINGS).live()


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
        502152,
    ],
)
def test_a_history_that_once_failed_settles(seed: int) -> None:
    History(seed, MOVES).live()


def test_a_finalizer_taken_by_hand_while_the_namespace_ends_leaves_no_debt() -> None:
    # Nothing that outlives the namespace says that the shard was ever there, but its purge.
    History(14153, WITH_DEBTS).live()


def test_a_rescan_that_fails_is_tried_again_without_an_event() -> None:
    # The store was away when it ran; nothing else happened that would have had a round follow.
    History(19693, WITH_DEBTS).live()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_deletion_waits_for_whatever_lags(scenario: Callable[[], None]) -> None:
    scenario()


def live_through_everything(first: Callable[[], None]) -> None:
    first()
    for scenario in SCENARIOS:
        scenario()
    for seed in range(60):
        History(seed, MOVES).live()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planner_that_forgets_a_clause_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTANTS[name](monkeypatch)

    with pytest.raises((AssertionError, StopIteration, KeyError)):
        live_through_everything(first=CAUGHT_BY[name])


def test_a_settled_cluster_writes_nothing() -> None:
    cluster = cluster_of("cats")
    before = cluster.observed()

    last = cluster.round()

    assert last is not None
    assert last.plan.actions == ()
    assert cluster.observed() == before


def test_the_order_of_applying_does_not_matter() -> None:
    def served(*names: str) -> set[str]:
        cluster = SimulatedCluster()
        for name in names:
            cluster.add(name)
            cluster.settle()
        return cluster.served()

    assert served("cats", "dogs", "bees") == served("bees", "cats", "dogs")
