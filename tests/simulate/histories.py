"""Histories: what may happen to a kitchen in any order, drawn from a seed, and what must hold.

A history is nothing but its seed: the same one is the same again, on any machine.
"""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

from tests.simulate.kitchen import Died, Kitchen
from tests.simulate.moody import MOODS
from tests.simulate.runs import RECORDS

from stockpot.api.training import Named
from stockpot.api.v1alpha1 import FINALIZER, Completeness
from stockpot.core.actions import IRREVOCABLE, Action
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.core.runs import RunName
from stockpot.reconcile.apply import apply
from stockpot.reconcile.loop import observe
from stockpot.serving import grants

NAMES = ("ants", "bees", "cats", "dogs")
STEPS = 40


def require(kitchen: Kitchen) -> None:
    """What has to be true at every moment."""
    for uid in kitchen.released:
        assert uid in kitchen.store.completed() | kitchen.forced, (
            f"{uid} went without a receipt that says that all is gone"
        )
        is_recorded = uid in recorded_receipts(kitchen) or kitchen.namespace_ends
        assert is_recorded or uid in kitchen.forced, f"{uid} went before its receipt was an object"
    for uid in kitchen.store.completed():
        assert uid in kitchen.store.tombstones
        assert not list(kitchen.traces_of(uid)), f"{uid} was said to be gone"
    for recipe in kitchen.promoted_and_served():
        assert f"revisions/{recipe}" in kitchen.store.artefacts, "purged before others served"
    made = {uid for uids in kitchen.store.artefacts.values() for uid in uids}
    for uid, shard in kitchen.shards.items():
        left = set(shard.status.left_out)
        assert left <= set(shard.spec.exclude_records), f"{uid} was made to forget what is there"
    for uid, shard in kitchen.shards.items():
        is_held = FINALIZER in shard.metadata.finalizers or uid in kitchen.bared
        assert uid not in made or is_held, f"{uid} could vanish"
    recorded = {one.uid for one in kitchen.soup.status.serving.granted}
    for uid, pod in kitchen.pods.known.items():
        held = grants.report(pod.holdings).holds
        assert not held or uid in recorded, f"{uid} was granted something, and nobody wrote it down"
    assert len(set(kitchen.runs.trained)) == len(kitchen.runs.trained), "a shard was trained twice"


def recorded_receipts(kitchen: Kitchen) -> set[str]:
    """Shards that have an object of a Complete receipt of their own."""
    return {
        receipt.spec.shard.uid
        for receipt in kitchen.receipts.values()
        if receipt.spec.completeness is Completeness.COMPLETE
    }


def require_every_receipt_recorded(kitchen: Kitchen) -> None:
    """Each receipt in the store has its object, and each object its receipt in the store."""
    objects = {
        (receipt.spec.sequence, receipt.spec.shard.uid) for receipt in kitchen.receipts.values()
    }
    stored = {(place, uid) for place, (uid, _) in enumerate(kitchen.store.receipts, start=1)}
    assert objects <= stored, "an object records a receipt that is not in the store"
    # Who goes by force takes along what its status knew of records that left it before; and what a
    # run signs after it was lost from sight may be of a shard that has its receipt by then.
    went_by_force = kitchen.bared | kitchen.forced
    late = {place for place, _ in stored - objects} & kitchen.runs.late_receipts
    lost = late | {
        place
        for place, uid in stored - objects
        if "." in uid and shard_of(ShardUID(uid)) in went_by_force
    }
    assert {place for place, _ in stored - objects} <= lost, "a receipt has no object"
    look = kitchen.soup.status.collection
    is_after = look is not None and look.at >= max(
        (receipt.spec.signed_at or "" for receipt in kitchen.receipts.values()), default=""
    )
    if lost and is_after and look and not kitchen.is_soup_gone:
        assert lost == set(look.unrecorded_receipts), "nobody says that a receipt has no object"


def require_rest(kitchen: Kitchen) -> None:
    """What has to be true once nothing is left to do."""
    if not kitchen.is_soup_gone:
        kitchen.runs.late.clear()  # By now it was looked for; after its Soup is gone, nobody does.
    require(kitchen)
    if not kitchen.namespace_ends:
        require_every_receipt_recorded(kitchen)
    living = set(kitchen.living())
    for name, uids in kitchen.store.artefacts.items():
        if name in kitchen.runs.late:
            continue
        left = {uid for uid in uids if "." not in uid} - living - kitchen.untraceable
        assert not left, f"{name} is of shards that are no more: {left}"
    assert all(not shard.metadata.deletion_timestamp for shard in kitchen.shards.values())
    for uid in (kitchen.stripped | kitchen.forced) - kitchen.untraceable:
        assert uid in kitchen.store.completed(), f"{uid} went by force, and has no receipt"
    for uid in living:
        shard = kitchen.shards[uid]
        assert not shard.status.former, f"{uid} has trainings that are not forgotten"
        trained = [name for name in kitchen.store.artefacts if name.startswith(f"shards/{uid}/")]
        assert len(trained) == 1, f"{uid} left something of records that were to go: {trained}"
    expired = set(kitchen.shards) - living
    assert expired <= kitchen.store.completed(), "a shard that expired has no receipt"


class History:
    """One kitchen, and what happens to it."""

    def __init__(self, seed: int, moves: Sequence["Move"] = ()) -> None:
        self.seed = seed
        self.moves = moves or MOVES
        self.kitchen = Kitchen()
        self.old_orders: list[tuple[Action, ...]] = []
        self.story: list[str] = []
        self._random = random.Random(seed)

    def live(self, steps: int = STEPS) -> None:
        """Let things happen; then all goes well, and it settles as a fresh kitchen would."""
        try:
            for name in self._random.sample(NAMES, self._random.randint(0, 3)):
                self.kitchen.add(name)
            if self.up_to(3):
                # Most of what may go wrong needs something that went well before.
                self.kitchen.settle()
                if self.up_to(3) == 0:
                    # As `kubectl delete -f` of a folder does, in no order that anybody knows.
                    somebody_deletes_everything(self)
                elif uid := self.one_of(self.kitchen.living()):
                    self.kitchen.delete(uid)
            for _ in range(steps):
                move = self._random.choice(self.moves)
                self.story.append(move.__name__)
                move(self)
                require(self.kitchen)
            self._end_well()
        except Exception as error:
            error.add_note(f"seed {self.seed}: {', '.join(self.story)}")
            raise

    def _end_well(self) -> None:
        kitchen = self.kitchen
        if kitchen.soup.metadata.deletion_timestamp:
            self._end_without_a_soup()
            return
        for uid in kitchen.living():
            named = kitchen.shards[uid].spec.exclude_records
            kitchen.exclude(uid, *(one for one in named if one in RECORDS))
        kitchen.weigh_by(Named(name="Declared"))
        kitchen.settle()
        # Where a shard went by force, its name was free before its receipt was there to be named.
        for uid in kitchen.living():
            kitchen.relearn(uid)
        kitchen.settle()
        twin = Kitchen()
        for uid in kitchen.living():
            shard = kitchen.shards[uid]
            twin.exclude(twin.add(shard.metadata.name), *shard.spec.exclude_records)
        twin.settle()
        assert kitchen.served() == twin.served(), "it serves otherwise than if it had never been so"
        require_rest(kitchen)

    def _end_without_a_soup(self) -> None:
        kitchen = self.kitchen
        for uid in kitchen.deletable():
            kitchen.delete(uid)
        kitchen.settle()
        assert kitchen.is_soup_gone, "the Soup was deleted, and is still there"
        assert not kitchen.shards
        require_rest(kitchen)

    def one_of(self, things: Sequence[str]) -> str | None:
        """Any of them; None where there is none."""
        return self._random.choice(things) if things else None

    def up_to(self, most: int) -> int:
        """A number from 0."""
        return self._random.randint(0, most)


Move = Callable[[History], None]


def somebody_adds_a_shard(history: History) -> None:
    name = None if history.kitchen.namespace_ends else history.one_of(NAMES)
    taken = {shard.metadata.name for shard in history.kitchen.shards.values()}
    if name and name not in taken:
        history.kitchen.add(name)


def somebody_deletes_a_shard(history: History) -> None:
    if uid := history.one_of(history.kitchen.deletable()):
        history.kitchen.delete(uid)


def somebody_deletes_the_soup(history: History) -> None:
    """Late in a history, mostly: what comes after it is only how everything goes."""
    if history.up_to(3) == 0:
        history.kitchen.delete_soup()


def somebody_deletes_everything(history: History) -> None:
    for uid in history.kitchen.deletable():
        history.kitchen.delete(uid)
    history.kitchen.delete_soup()


def somebody_deletes_the_soup_with_all_of_its_shards(history: History) -> None:
    if history.up_to(3) == 0:
        somebody_deletes_everything(history)


def somebody_deletes_the_namespace(history: History) -> None:
    if history.up_to(5) == 0 and not history.kitchen.namespace_ends:
        history.kitchen.delete_namespace()


def a_shard_expires(history: History) -> None:
    if uid := history.one_of(history.kitchen.living()):
        history.kitchen.expire(uid)


def somebody_forces_a_shard_away(history: History) -> None:
    if uid := history.one_of(history.kitchen.deletable()):
        history.kitchen.force(uid)


def somebody_takes_a_record_out(history: History) -> None:
    kitchen = history.kitchen
    if uid := history.one_of(kitchen.living()):
        before = kitchen.shards[uid].spec.exclude_records
        new = [one for one in RECORDS if one not in before]
        if record := history.one_of(new):
            kitchen.exclude(uid, *before, record)


def somebody_misspells_a_record(history: History) -> None:
    """And puts it right, now or at the end."""
    kitchen = history.kitchen
    if uid := history.one_of(kitchen.living()):
        spec = kitchen.shards[uid].spec.exclude_records
        right = tuple(one for one in spec if one in RECORDS)
        kitchen.exclude(uid, *(right if right != spec else (*spec, "nobody")))


def somebody_takes_a_finalizer_away(history: History) -> None:
    if uid := history.one_of(sorted(history.kitchen.shards)):
        history.kitchen.strip(uid)


def a_round(history: History) -> None:
    one = history.kitchen.round()
    if one:
        history.old_orders.append(one.plan.actions)


def a_round_in_which_the_operator_dies(history: History) -> None:
    history.kitchen.round(dies_after=history.up_to(4))


def a_round_on_a_stale_cache(history: History) -> None:
    history.kitchen.round(stale_by=1 + history.up_to(5))


def a_deposed_leader_wakes_up_and_does_what_it_meant_to(history: History) -> None:
    kitchen = history.kitchen
    if not history.old_orders:
        return
    actions = history.old_orders[history.up_to(len(history.old_orders) - 1)]
    seen, world = observe(kitchen.ports, fresh=True)
    if world is None:
        return  # The Soup is gone.
    for action in actions:
        if isinstance(action, IRREVOCABLE):
            continue  # Looked at afresh right before it is done, so it is never late.
        try:
            apply(action, seen, world, kitchen.ports, kitchen.now)
        except (StopIteration, KeyError, Died):
            return  # It names a shard that is gone: the process ends with a traceback.


def a_run_ends_well(history: History) -> None:
    kitchen = history.kitchen
    if name := history.one_of(kitchen.runs.active()):
        kitchen.runs.finish(RunName(name), kitchen.now)


def much_goes_well_for_a_while(history: History) -> None:
    """Else few histories would come to a receipt. What has ended is shown in any order."""
    kitchen = history.kitchen
    for _ in range(2 + history.up_to(8)):
        kitchen.confirm_ends()
        for name in kitchen.runs.active():
            if history.up_to(1):
                kitchen.runs.finish_unseen(RunName(name), kitchen.now)
        if name := history.one_of(kitchen.runs.hidden()):
            kitchen.runs.reveal(RunName(name), kitchen.now)
        kitchen.pods.move()
        a_round(history)
        require(kitchen)


def a_run_ends_and_its_job_says_so_later(history: History) -> None:
    kitchen = history.kitchen
    if name := history.one_of(kitchen.runs.active()):
        kitchen.runs.finish_unseen(RunName(name), kitchen.now)


def a_job_says_how_its_run_ended(history: History) -> None:
    kitchen = history.kitchen
    if name := history.one_of(kitchen.runs.hidden()):
        kitchen.runs.reveal(RunName(name), kitchen.now)


def a_run_that_was_asked_to_end_has_ended(history: History) -> None:
    runs = history.kitchen.runs
    if name := history.one_of(runs.ending()):
        runs.confirm_end(RunName(name))
        history.kitchen.lose_traces()


def a_run_is_about_to_publish(history: History) -> None:
    runs = history.kitchen.runs
    if name := history.one_of(runs.active()):
        runs.known[RunName(name)].is_cleared = True


def a_run_that_is_about_to_publish_is_lost_from_sight(history: History) -> None:
    runs = history.kitchen.runs
    if name := history.one_of(runs.active()):
        runs.known[RunName(name)].is_cleared = True
        runs.freeze(RunName(name))
        history.kitchen.lose_traces()


def a_run_is_killed(history: History) -> None:
    if name := history.one_of(history.kitchen.runs.active()):
        history.kitchen.runs.crash(RunName(name), written=history.up_to(2))


def a_run_is_stopped_and_lost_from_sight(history: History) -> None:
    if name := history.one_of(history.kitchen.runs.active()):
        history.kitchen.runs.freeze(RunName(name))
        history.kitchen.lose_traces()


def a_run_that_was_stopped_goes_on(history: History) -> None:
    if name := history.one_of(sorted(history.kitchen.runs.frozen)):
        history.kitchen.runs.thaw(RunName(name))


def servers_get_on(history: History) -> None:
    history.kitchen.pods.move()


def servers_get_on_and_drop_nothing(history: History) -> None:
    history.kitchen.pods.move(dropping=False)


def a_server_restarts(history: History) -> None:
    if uid := history.one_of(sorted(history.kitchen.pods.known)):
        history.kitchen.pods.restart(uid)


def a_server_falls_silent_or_answers_again(history: History) -> None:
    if uid := history.one_of(sorted(history.kitchen.pods.known)):
        history.kitchen.pods[uid].is_silent = history.up_to(1) == 0


def a_server_is_replaced(history: History) -> None:
    if uid := history.one_of(history.kitchen.pods.seen()):
        history.kitchen.pods.replace(uid)


def a_server_that_was_asked_to_end_has_ended(history: History) -> None:
    if uid := history.one_of(history.kitchen.pods.ending()):
        history.kitchen.pods.end(uid)


def somebody_deletes_a_server_by_force(history: History) -> None:
    if uid := history.one_of(history.kitchen.pods.seen()):
        history.kitchen.pods.delete_by_force(uid)


def a_lost_node_is_said_to_be_out_of_service(history: History) -> None:
    if uid := history.one_of(history.kitchen.pods.unseen()):
        history.kitchen.pods.end(uid)


def strays_are_in_the_store(history: History) -> None:
    history.kitchen.store.strays = history.up_to(2)


def time_passes(history: History) -> None:
    history.kitchen.now += timedelta(minutes=(1, 10, 90)[history.up_to(2)])


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
    somebody_adds_a_shard,
    *(somebody_deletes_a_shard,) * 2,
    somebody_deletes_the_soup,
    somebody_deletes_the_soup_with_all_of_its_shards,
    somebody_deletes_the_namespace,
    a_shard_expires,
    somebody_forces_a_shard_away,
    somebody_takes_a_record_out,
    somebody_misspells_a_record,
    somebody_takes_a_finalizer_away,
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
    somebody_deletes_a_server_by_force,
    a_lost_node_is_said_to_be_out_of_service,
    strays_are_in_the_store,
    time_passes,
)
"""What happens; what is listed more often happens more often."""


def the_weighting_breaks(history: History) -> None:
    if mood := history.one_of(MOODS):
        history.kitchen.weigh_by(Named(name="Moody", options={"mood": mood}))


def the_weighting_is_mended(history: History) -> None:
    history.kitchen.weigh_by(Named(name="Declared"))


WITH_WEIGHTINGS: tuple[Move, ...] = (
    *MOVES,
    *(the_weighting_breaks,) * 3,
    the_weighting_is_mended,
)
"""Apart, so that histories that are known by their seeds stay what they are."""
