"""Directed scenarios: one sequence of events each, for what random histories seldom reach."""

import copy
from collections.abc import Callable
from datetime import timedelta

from tests.simulate import scenarios_of_records, scenarios_of_settings
from tests.simulate.cluster import SimulatedCluster
from tests.simulate.driving import cluster_of, go_on, uid_of
from tests.simulate.faulty_weighting import FAULTS
from tests.simulate.histories import require, require_rest

from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import SignRun
from stockpot.api.training import Named
from stockpot.core.recipe import ShardUID
from stockpot.core.run_starts import DueReceipt, StartSigning, run_name
from stockpot.core.runs import RunName


def everything_lags() -> None:
    """Servers drop nothing for a while, so that each unlearning stage is needed."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    cluster.delete(dogs)
    go_on(cluster, dropping=False)
    assert dogs in cluster.shards, "a server still holds it"
    cluster.settle()
    require(cluster)
    assert dogs in cluster.released


def a_server_is_lost() -> None:
    """A pod is deleted by force while its process goes on, with a shard that is deleted then."""
    cluster = cluster_of("cats", "dogs")
    dogs, lost = uid_of(cluster, "dogs"), cluster.pods.observed()[0]
    cluster.pods.delete_by_force(lost)
    cluster.delete(dogs)
    go_on(cluster)
    assert not cluster.store.receipts, "the end of the pod is not confirmed"
    cluster.now += timedelta(hours=2)
    go_on(cluster)
    assert cluster.store.receipts == [(dogs, False)], (
        "the deadline has passed: one Incomplete receipt"
    )
    assert dogs in cluster.shards
    cluster.pods.end(lost)
    cluster.settle()
    require_rest(cluster)
    assert cluster.store.receipts == [(dogs, False), (dogs, True)]


def a_writer_has_read_the_tombstones() -> None:
    """A shard is deleted while its training has read the tombstones and not written yet.

    The end of the training is requested, and it writes before that is confirmed.
    """
    cluster = cluster_of("cats")
    cluster.add("dogs")
    while not (writers := cluster.runs.active(RunKind.TRAIN)):
        cluster.round()
    [name] = writers
    writer = cluster.runs.known[name]
    writer.is_cleared = True
    dogs = uid_of(cluster, "dogs")
    cluster.delete(dogs)
    for _ in range(12):
        cluster.round()
        require(cluster)
        for other in cluster.runs.active():
            if other != name:
                cluster.runs.finish(other, cluster.now)
        cluster.pods.move()
        require(cluster)
    assert writer.is_ending
    assert RunKind.PURGE not in {run.spec.kind for run in cluster.runs.known.values()}
    cluster.runs.finish(name, cluster.now)
    require(cluster)
    cluster.settle()
    require_rest(cluster)
    assert dogs in cluster.released


def strays_are_left() -> None:
    """Objects of unknown lineage are in the store until a person removes them."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    cluster.store.strays = 2
    cluster.delete(dogs)
    go_on(cluster)
    assert cluster.store.receipts == [(dogs, False)]
    assert dogs in cluster.shards
    before = cluster.observed()
    cluster.round()
    assert cluster.observed() == before, "nothing is written between two purges"
    cluster.settle()
    require_rest(cluster)
    assert cluster.store.receipts == [(dogs, False), (dogs, True)]


def a_writer_resumes_after_the_receipt() -> None:
    """A writer is suspended before it publishes, on a lost node, and resumes a day later."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    cluster.add("bees")
    while not (writers := cluster.runs.active(RunKind.MERGE)):
        cluster.round()
        for name in cluster.runs.active():
            if cluster.runs.known[name].spec.kind is not RunKind.MERGE:
                cluster.runs.finish(name, cluster.now)
    [name] = writers
    cluster.runs.known[name].is_cleared = True
    cluster.runs.freeze(name)
    cluster.delete(dogs)
    frozen = cluster.runs.frozen
    cluster.runs.frozen = {}
    cluster.settle()
    assert dogs in cluster.store.completed()
    cluster.now += timedelta(days=1)
    cluster.runs.frozen = frozen
    cluster.runs.thaw(name)
    assert cluster.runs.late, "it wrote its artifact"
    go_on(cluster)
    assert not any(dogs in uids for uids in cluster.store.artefacts.values())
    require_rest(cluster)


def the_store_is_restored_from_a_backup() -> None:
    """The store has purged artifacts again, without tombstone or receipt."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    backup = copy.deepcopy(cluster.store)
    cluster.delete(dogs)
    cluster.settle()
    newest = copy.deepcopy(cluster.store)
    cats_alone = cluster.served()
    cluster.now += timedelta(minutes=10)
    cluster.store.restore(backup)
    for _ in range(12):
        cluster.round()
        for name in cluster.runs.active():
            cluster.runs.finish(name, cluster.now)
        cluster.confirm_ends()
        cluster.pods.move()
    assert cluster.served() == the_base(), "it is unknown what may be served"
    assert not cluster.store.receipts, "nothing is signed onto this chain"
    assert dogs in cluster.store.tombstones, "the resurrected artifacts are removed"
    cluster.store.receipts = newest.receipts
    for name, revision in list(cluster.revisions.items()):
        if f"revisions/{revision.spec.recipe_digest}" not in cluster.store.artefacts:
            del cluster.revisions[name]
    cluster.settle()
    assert dogs in cluster.store.tombstones
    assert cluster.served() == cats_alone
    require_rest(cluster)


def the_objects_are_restored_from_a_backup() -> None:
    """An unlearned shard exists again, and the Soup knows no receipt."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    backup = cluster.observed()
    cluster.delete(dogs)
    cluster.settle()
    receipts, cats_alone = dict(cluster.receipts), cluster.served()
    cluster.restore(backup)
    assert dogs in cluster.living()
    for _ in range(8):
        cluster.round()
        cluster.pods.move()
        require(cluster)
    assert cluster.served() == the_base(), "it is unknown what may be served"
    cluster.receipts |= receipts
    cluster.settle()
    assert cluster.served() == cats_alone
    assert not list(cluster.traces_of(dogs)), "its object is back, and no artifact of it"
    cluster.delete(dogs)
    cluster.settle()
    require_rest(cluster)
    assert dogs not in cluster.shards


def the_base() -> set[str]:
    """Return what is served where nothing was learnt."""
    return cluster_of().served()


def a_finalizer_is_removed() -> None:
    """A user removes the finalizer, and the object goes: its artifacts still name it."""
    cluster = cluster_of("cats", "dogs")
    dogs = uid_of(cluster, "dogs")
    cluster.strip(dogs)
    cluster.delete(dogs)
    assert dogs not in cluster.shards
    cluster.settle()
    require_rest(cluster)
    assert cluster.store.receipts == [(dogs, True)]


def everything_is_deleted_at_once() -> None:
    """A folder is deleted with `kubectl delete -f`; the operator crashes after any step."""
    for dies_after in range(12):
        cluster = cluster_of("ants", "bees", "cats")
        for uid in cluster.living():
            cluster.delete(uid)
        cluster.delete_soup()
        for _ in range(20):
            cluster.round(dies_after=dies_after)
            require(cluster)
            cluster.confirm_ends()
            for name in cluster.runs.active():
                cluster.runs.finish(name, cluster.now)
            cluster.pods.move()
            require(cluster)
        cluster.settle()
        require_rest(cluster)
        assert cluster.is_soup_gone
        assert len(cluster.receipts) == 3


def until_signing(cluster: SimulatedCluster) -> list[RunName]:
    """Let all go well until sign runs are active; return their names."""
    for _ in range(40):
        cluster.round()
        require(cluster)
        active = cluster.runs.active()
        if signs := cluster.runs.active(RunKind.SIGN):
            return signs
        for name in active:
            cluster.runs.finish(name, cluster.now)
        cluster.confirm_ends()
        cluster.pods.move()
    raise AssertionError("nothing was signed")


def two_sign_runs_end_out_of_order() -> None:
    """A deposed leader and its successor each started one; the first to end is observed last."""
    for dies_after in range(8):
        cluster = cluster_of("cats", "dogs", "eels")
        cats, dogs = uid_of(cluster, "cats"), uid_of(cluster, "dogs")
        cluster.delete(cats)
        cluster.delete(dogs)
        [both] = until_signing(cluster)
        spec = cluster.runs.known.pop(both).spec
        assert isinstance(spec, SignRun)
        for request in spec.receipts:
            start = StartSigning((DueReceipt(ShardUID(request.shard.uid)),))
            single = spec.model_copy(update={"receipts": (request,)})
            cluster.ports.runs.start(run_name(start), start.lineage, single)
        first, second = cluster.runs.active()
        cluster.runs.finish_unseen(first, cluster.now)
        cluster.runs.finish(second, cluster.now)
        for _ in range(3):
            cluster.round()
            require(cluster)
        cluster.runs.reveal(first, cluster.now)
        for _ in range(6):
            cluster.round(dies_after=dies_after)
            require(cluster)
        cluster.settle()
        require_rest(cluster)


def a_namespace_is_deleted() -> None:
    """The status of the shards is the only record, because no object can be created."""
    for dies_after in (None, 0, 1, 2, 3, 4, 5):
        cluster = cluster_of("cats", "dogs")
        uids = set(cluster.living())
        cluster.delete_namespace()
        for _ in range(20):
            cluster.round(dies_after=dies_after)
            require(cluster)
            cluster.confirm_ends()
            for name in cluster.runs.active():
                cluster.runs.finish(name, cluster.now)
            require(cluster)
        cluster.settle()
        require_rest(cluster)
        assert cluster.is_soup_gone
        assert cluster.store.completed() == uids


def the_store_is_away_and(delete: Callable[[SimulatedCluster], None], wait: timedelta) -> None:
    """The operator may crash after any step; the store answers again only after the Soup went."""
    for dies_after in (None, 0, 1, 2, 3, 4, 5, 6):
        cluster = cluster_of("cats", "dogs")
        uids = set(cluster.living())
        cluster.store.is_away = True
        delete(cluster)
        for number in range(40):
            cluster.round(dies_after=dies_after if number % 2 else None)
            require(cluster)
            cluster.confirm_ends()
            for name in cluster.runs.active():
                cluster.runs.finish(name, cluster.now)
            cluster.pods.move()
            require(cluster)
            if number == 20:
                assert bool(wait) is not cluster.is_soup_gone, "it waits until the deadline"
                cluster.now += wait
        assert cluster.is_soup_gone, "it is let go"
        assert not cluster.shards
        assert cluster.owed() == uids, "what is owed is written down"
        assert not cluster.store.receipts
        cluster.settle()
        require_rest(cluster)
        assert cluster.store.completed() == uids


def a_soup_is_forced_away() -> None:
    """Its store does not answer: what is owed is written down, and paid when it does."""

    def delete(cluster: SimulatedCluster) -> None:
        cluster.delete_everything()
        cluster.force_soup()

    the_store_is_away_and(delete, timedelta(0))


def a_namespace_ends_while_the_store_is_away() -> None:
    """Nothing is created there any more; past the deadline the namespace is not held up."""
    the_store_is_away_and(SimulatedCluster.delete_namespace, timedelta(hours=2))


def a_forced_soup_waits_for_shards_that_live() -> None:
    """The unlearning of a shard that nobody deleted was not asked for."""
    cluster = cluster_of("cats", "dogs")
    cluster.delete(uid_of(cluster, "dogs"))
    cluster.store.is_away = True
    cluster.force_soup()
    go_on(cluster, rounds=10)
    assert not cluster.is_soup_gone
    assert not cluster.debts
    cluster.delete(uid_of(cluster, "cats"))
    go_on(cluster, rounds=10)
    assert cluster.is_soup_gone
    cluster.settle()
    require_rest(cluster)


def the_weighting_breaks() -> None:
    """Deletions go on whatever the weighting does; new shards wait until it is repaired."""
    for fault in FAULTS:
        cluster = cluster_of("cats", "dogs", "eels")
        dogs = uid_of(cluster, "dogs")
        cluster.weigh_by(Named(name="FaultyWeighting", options={"fault": fault}))
        cluster.add("bees")
        cluster.delete(dogs)
        cluster.settle()
        require(cluster)
        assert cluster.store.receipts == [(dogs, True)], fault
        reasons = {condition.type: condition.reason for condition in cluster.soup.status.conditions}
        if fault == "nothing":
            assert cluster.served() == the_base()
            assert reasons["Ready"] == "Weightless"
        else:
            assert cluster.served() == cluster_of("cats", "eels").served(), fault
            assert reasons["Stalled"] == "WeightingFailed", fault
        cluster.weigh_by(Named(name="Declared"))
        cluster.settle()
        assert cluster.served() == cluster_of("bees", "cats", "eels").served(), fault
        require_rest(cluster)


SCENARIOS = (
    *scenarios_of_records.SCENARIOS,
    *scenarios_of_settings.SCENARIOS,
    everything_is_deleted_at_once,
    two_sign_runs_end_out_of_order,
    a_namespace_is_deleted,
    a_soup_is_forced_away,
    a_namespace_ends_while_the_store_is_away,
    a_forced_soup_waits_for_shards_that_live,
    the_weighting_breaks,
    everything_lags,
    a_server_is_lost,
    a_writer_has_read_the_tombstones,
    strays_are_left,
    a_writer_resumes_after_the_receipt,
    a_finalizer_is_removed,
    the_store_is_restored_from_a_backup,
    the_objects_are_restored_from_a_backup,
)
