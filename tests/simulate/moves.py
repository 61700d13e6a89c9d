"""The moves of a history: what users, runs, servers, nodes and the operator may do."""

from datetime import timedelta

from pydantic import ValidationError
from tests.simulate.cluster import OperatorCrashed
from tests.simulate.faulty_weighting import FAULTS
from tests.simulate.histories import NAMES, History, Move, require
from tests.simulate.records import RECORDS

from stockpot.api.run_kinds import RunKind
from stockpot.api.training import Named
from stockpot.core.actions import IRREVOCABLE
from stockpot.core.runs import Failure, RunName
from stockpot.reconcile.apply import apply
from stockpot.reconcile.loop import observe


def a_user_adds_a_shard(history: History) -> None:
    name = None if history.cluster.namespace_ends else history.one_of(NAMES)
    taken = {shard.metadata.name for shard in history.cluster.shards.values()}
    if name and name not in taken:
        history.cluster.add(name)


def a_user_deletes_a_shard(history: History) -> None:
    if uid := history.one_of(history.cluster.deletable()):
        history.cluster.delete(uid)


def a_user_deletes_the_soup(history: History) -> None:
    # Seldom: all that follows is how everything is unlearned.
    if history.up_to(3) == 0:
        history.cluster.delete_soup()


def a_user_deletes_everything(history: History) -> None:
    history.cluster.delete_everything()


def a_user_deletes_the_soup_with_all_of_its_shards(history: History) -> None:
    if history.up_to(3) == 0:
        a_user_deletes_everything(history)


def a_user_deletes_the_namespace(history: History) -> None:
    if history.up_to(5) == 0 and not history.cluster.namespace_ends:
        history.cluster.delete_namespace()


def a_shard_expires(history: History) -> None:
    if uid := history.one_of(history.cluster.living()):
        history.cluster.expire(uid)


def a_user_forces_a_shard_away(history: History) -> None:
    if uid := history.one_of(history.cluster.deletable()):
        history.cluster.force(uid)


def a_user_takes_a_record_out(history: History) -> None:
    cluster = history.cluster
    if uid := history.one_of(cluster.living()):
        before = cluster.shards[uid].spec.exclude_records
        new = [record for record in RECORDS if record not in before]
        if record := history.one_of(new):
            cluster.exclude(uid, *before, record)


def a_user_misspells_a_record(history: History) -> None:
    """Misspell a record, or correct a name that was misspelt before."""
    cluster = history.cluster
    if uid := history.one_of(cluster.living()):
        spec = cluster.shards[uid].spec.exclude_records
        right = tuple(record for record in spec if record in RECORDS)
        cluster.exclude(uid, *(right if right != spec else (*spec, "nobody")))


def a_user_takes_a_finalizer_away(history: History) -> None:
    if uid := history.one_of(sorted(history.cluster.shards)):
        history.cluster.strip(uid)


def a_round(history: History) -> None:
    last = history.cluster.round()
    if last:
        history.old_plans.append(last.plan.actions)


def a_round_in_which_the_operator_dies(history: History) -> None:
    history.cluster.round(dies_after=history.up_to(4))


def a_round_on_a_stale_cache(history: History) -> None:
    history.cluster.round(stale_by=1 + history.up_to(5))


def a_deposed_leader_wakes_up_and_does_what_it_meant_to(history: History) -> None:
    cluster = history.cluster
    if not history.old_plans:
        return
    actions = history.old_plans[history.up_to(len(history.old_plans) - 1)]
    observed, world = observe(cluster.ports, fresh=True)
    if world is None:
        return  # The Soup is gone.
    for action in actions:
        if isinstance(action, IRREVOCABLE):
            continue  # The world is observed afresh right before it, so it is never late.
        try:
            apply(action, observed, world, cluster.ports, cluster.now)
        except (StopIteration, KeyError, ValidationError, OperatorCrashed):
            return  # It names a shard or records that are gone: the process ends with a traceback.


def a_run_ends_well(history: History) -> None:
    cluster = history.cluster
    if name := history.one_of(cluster.runs.active()):
        cluster.runs.finish(RunName(name), cluster.now)


def much_goes_well_for_a_while(history: History) -> None:
    """Let runs end and be reported in any order: else few histories would reach a receipt."""
    cluster = history.cluster
    for _ in range(2 + history.up_to(8)):
        cluster.confirm_ends()
        for name in cluster.runs.active():
            if history.up_to(1):
                cluster.runs.finish_unseen(RunName(name), cluster.now)
        if name := history.one_of(cluster.runs.hidden()):
            cluster.runs.reveal(RunName(name), cluster.now)
        cluster.pods.move()
        a_round(history)
        require(cluster)


def a_run_ends_and_its_job_says_so_later(history: History) -> None:
    cluster = history.cluster
    if name := history.one_of(cluster.runs.active()):
        cluster.runs.finish_unseen(RunName(name), cluster.now)


def a_job_says_how_its_run_ended(history: History) -> None:
    cluster = history.cluster
    if name := history.one_of(cluster.runs.hidden()):
        cluster.runs.reveal(RunName(name), cluster.now)


def a_run_that_was_asked_to_end_has_ended(history: History) -> None:
    runs = history.cluster.runs
    if name := history.one_of(runs.ending()):
        runs.confirm_end(RunName(name))
        history.cluster.lose_traces()


def a_run_is_about_to_publish(history: History) -> None:
    runs = history.cluster.runs
    if name := history.one_of(runs.active()):
        runs.known[RunName(name)].is_cleared = True


def a_run_that_is_about_to_publish_is_lost_from_sight(history: History) -> None:
    runs = history.cluster.runs
    if name := history.one_of(runs.active()):
        runs.known[RunName(name)].is_cleared = True
        runs.freeze(RunName(name))
        history.cluster.lose_traces()


def a_run_is_killed(history: History) -> None:
    cluster = history.cluster
    if name := history.one_of(cluster.runs.active()):
        cluster.runs.crash(RunName(name), cluster.now, written=history.up_to(2))


def a_run_is_stopped_and_lost_from_sight(history: History) -> None:
    if name := history.one_of(history.cluster.runs.active()):
        history.cluster.runs.freeze(RunName(name))
        history.cluster.lose_traces()


def a_run_that_was_stopped_goes_on(history: History) -> None:
    if name := history.one_of(sorted(history.cluster.runs.frozen)):
        history.cluster.runs.thaw(RunName(name))


def servers_get_on(history: History) -> None:
    history.cluster.pods.move()


def servers_get_on_and_drop_nothing(history: History) -> None:
    history.cluster.pods.move(dropping=False)


def a_server_restarts(history: History) -> None:
    if uid := history.one_of(sorted(history.cluster.pods.known)):
        history.cluster.pods.restart(uid)


def a_server_falls_silent_or_answers_again(history: History) -> None:
    if uid := history.one_of(sorted(history.cluster.pods.known)):
        history.cluster.pods[uid].is_silent = history.up_to(1) == 0


def a_server_is_replaced(history: History) -> None:
    if uid := history.one_of(history.cluster.pods.observed()):
        history.cluster.pods.replace(uid)


def a_server_that_was_asked_to_end_has_ended(history: History) -> None:
    if uid := history.one_of(history.cluster.pods.ending()):
        history.cluster.pods.end(uid)


def a_user_deletes_a_server_by_force(history: History) -> None:
    if uid := history.one_of(history.cluster.pods.observed()):
        history.cluster.pods.delete_by_force(uid)


def a_lost_node_is_said_to_be_out_of_service(history: History) -> None:
    if uid := history.one_of(history.cluster.pods.without_object()):
        history.cluster.pods.end(uid)


def strays_are_in_the_store(history: History) -> None:
    history.cluster.store.strays = history.up_to(2)


def time_passes(history: History) -> None:
    history.cluster.now += timedelta(minutes=(1, 10, 90)[history.up_to(2)])


MOVES: tuple[Move, ...] = (
    *(a_round,) * 16,
    *(a_run_ends_well,) * 6,
    *(much_goes_well_for_a_while,) * 3,
    *(a_run_ends_and_its_job_says_so_later,) * 2,
    *(a_job_says_how_its_run_ended,) * 2,
    *(a_run_that_was_asked_to_end_has_ended,) * 5,
    *(a_server_that_was_asked_to_end_has_ended,) * 2,
    *(servers_get_on,) * 4,
    *(servers_get_on_and_drop_nothing,) * 3,
    a_user_adds_a_shard,
    *(a_user_deletes_a_shard,) * 2,
    a_user_deletes_the_soup,
    a_user_deletes_the_soup_with_all_of_its_shards,
    a_user_deletes_the_namespace,
    a_shard_expires,
    a_user_forces_a_shard_away,
    a_user_takes_a_record_out,
    a_user_misspells_a_record,
    a_user_takes_a_finalizer_away,
    a_round_in_which_the_operator_dies,
    a_round_on_a_stale_cache,
    a_deposed_leader_wakes_up_and_does_what_it_meant_to,
    a_run_is_about_to_publish,
    a_run_that_is_about_to_publish_is_lost_from_sight,
    a_run_is_killed,
    a_run_is_stopped_and_lost_from_sight,
    a_run_that_was_stopped_goes_on,
    a_server_restarts,
    a_server_falls_silent_or_answers_again,
    a_server_is_replaced,
    a_user_deletes_a_server_by_force,
    a_lost_node_is_said_to_be_out_of_service,
    strays_are_in_the_store,
    time_passes,
)
"""Moves, each as often as its weight."""


def a_user_forces_the_soup_away(history: History) -> None:
    cluster = history.cluster
    if history.up_to(3) == 0:
        cluster.force_soup()
        if history.up_to(1):
            cluster.delete_everything()


def the_store_goes_away_or_comes_back(history: History) -> None:
    history.cluster.store.is_away = history.up_to(2) > 0


WITH_DEBTS: tuple[Move, ...] = (
    *MOVES,
    *(a_user_forces_the_soup_away,) * 2,
    *(a_user_deletes_the_namespace,) * 3,
    *(the_store_goes_away_or_comes_back,) * 3,
    *(time_passes,) * 2,
)
"""Soups that go before the end, and namespaces that end while the store does not answer."""


def an_admin_breaks_a_setting(history: History) -> None:
    history.cluster.runs.change_settings(is_short=True)


def an_admin_mends_a_setting(history: History) -> None:
    history.cluster.runs.change_settings(is_short=False)


def a_run_lacks_memory(history: History) -> None:
    runs = history.cluster.runs
    if name := history.one_of(runs.active()):
        failure = Failure(137, "out of memory", at=history.cluster.now, is_of_resource=True)
        runs.known[RunName(name)].outcome = failure


def a_run_fails_for_good(history: History) -> None:
    """Let a training or merge fail as the same attempt would again; the data is mended later."""
    runs = history.cluster.runs
    learning = [*runs.active(RunKind.TRAIN), *runs.active(RunKind.MERGE)]
    if name := history.one_of(learning):
        runs.known[RunName(name)].outcome = Failure(46, "it is broken", at=history.cluster.now)
        # Whoever mends it says so in the end.
        runs.settings = runs.settings or 1


def a_user_asks_to_try_again(history: History) -> None:
    history.cluster.ask_again()


def a_user_deletes_a_soup_that_has_no_shards(history: History) -> None:
    """Try to delete the Soup: admission refuses that while its status counts shards."""
    if not history.cluster.soup.status.shards.total:
        history.cluster.delete_soup()


WITH_SETTINGS: tuple[Move, ...] = (
    *(move for move in MOVES if move is not a_user_deletes_the_namespace),
    *(an_admin_breaks_a_setting,) * 2,
    *(an_admin_mends_a_setting,) * 3,
    *(a_run_lacks_memory,) * 2,
    *(a_run_fails_for_good,) * 2,
    *(a_user_asks_to_try_again,) * 2,
    a_user_deletes_a_soup_that_has_no_shards,
    a_user_forces_the_soup_away,
)
"""Settings that change while Jobs wait, requests to retry, and Soups that are deleted too early."""


def the_weighting_breaks(history: History) -> None:
    if fault := history.one_of(FAULTS):
        history.cluster.weigh_by(Named(name="FaultyWeighting", options={"fault": fault}))


def the_weighting_is_mended(history: History) -> None:
    history.cluster.weigh_by(Named(name="Declared"))


WITH_WEIGHTINGS: tuple[Move, ...] = (
    *MOVES,
    *(the_weighting_breaks,) * 3,
    the_weighting_is_mended,
)
"""A tuple of its own, so that histories that are known by their seeds do not change."""
