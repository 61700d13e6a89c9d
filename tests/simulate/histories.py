"""Histories: random sequences of moves on a simulated cluster, and the invariants that must hold.

A history is determined by its seed: equal seeds give equal histories, on any machine.
"""

import random
from collections.abc import Callable, Sequence

from tests.simulate.cluster import SimulatedCluster
from tests.simulate.records import RECORDS, picture
from tests.simulate.true_conditions import promoted_and_served

from stockpot.api.training import Named
from stockpot.api.v1alpha1 import FINALIZER, Completeness
from stockpot.core.actions import Action
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.reconcile.objects.debt import is_paid
from stockpot.serving import grants

NAMES = ("ants", "bees", "cats", "dogs")
STEPS = 40


def require(cluster: SimulatedCluster) -> None:
    """Assert the invariants of every moment."""
    may_go = cluster.forced | cluster.owed()
    for uid in cluster.released:
        assert uid in cluster.store.completed() | may_go, f"{uid} went without a Complete receipt"
        is_recorded = uid in recorded_receipts(cluster) or cluster.namespace_ends
        assert is_recorded or uid in may_go, f"{uid} went before its receipt was an object"
    for uid in cluster.store.completed():
        assert uid in cluster.store.tombstones
        assert not list(cluster.traces_of(uid)), f"{uid} has a Complete receipt, and artifacts"
    for recipe in promoted_and_served(cluster):
        assert f"revisions/{recipe}" in cluster.store.artefacts, "purged before others served"
    made = {uid for uids in cluster.store.artefacts.values() for uid in uids}
    for uid, shard in cluster.shards.items():
        left = set(shard.status.left_out)
        assert left <= set(shard.spec.exclude_records), f"{uid} lost a record that its spec has"
    for uid, shard in cluster.shards.items():
        is_held = FINALIZER in shard.metadata.finalizers or uid in cluster.bared
        assert uid not in made or is_held, f"{uid} could vanish"
    recorded = {grant.uid for grant in cluster.soup.status.serving.granted}
    for uid, pod in cluster.pods.known.items():
        held = grants.report(pod.holdings).holds
        assert not held or uid in recorded, f"{uid} was granted something without a record"
    require_records_stay_unlearned(cluster)
    assert len(set(cluster.runs.trained)) == len(cluster.runs.trained), "a shard was trained twice"


def recorded_receipts(cluster: SimulatedCluster) -> set[str]:
    """Return the targets whose Complete receipt has an object."""
    return {
        receipt.spec.shard.uid
        for receipt in cluster.receipts.values()
        if receipt.spec.completeness is Completeness.COMPLETE
    }


def require_every_receipt_recorded(cluster: SimulatedCluster) -> None:
    """Assert that each receipt in the store has its object, and each object its receipt."""
    objects = {
        (receipt.spec.sequence, receipt.spec.shard.uid) for receipt in cluster.receipts.values()
    }
    stored = {(place, uid) for place, (uid, _) in enumerate(cluster.store.receipts, start=1)}
    assert objects <= stored, "an object records a receipt that is not in the store"
    # A forced object takes its status with it, and so the notes of records that left it before; and
    # a run that is resumed may sign for a shard that has its receipt by then.
    went_by_force = cluster.bared | cluster.forced | cluster.owed()
    late = {place for place, _ in stored - objects} & cluster.runs.late_receipts
    lost = late | {
        place
        for place, uid in stored - objects
        if "." in uid and shard_of(ShardUID(uid)) in went_by_force
    }
    assert {place for place, _ in stored - objects} <= lost, "a receipt has no object"
    rescan = cluster.soup.status.collection
    is_after = rescan is not None and rescan.at >= max(
        (receipt.spec.signed_at or "" for receipt in cluster.receipts.values()), default=""
    )
    if lost and is_after and rescan and not cluster.is_soup_gone:
        assert lost == set(rescan.unrecorded_receipts), "a missing object is not reported"


def require_records_stay_unlearned(cluster: SimulatedCluster) -> None:
    """Assert that no record is promoted which was unlearned before, unless a receipt is named."""
    current = cluster.soup.status.current_revision
    revision = cluster.revisions.get(current.name) if current else None
    requested = {
        receipt.spec.shard.uid: receipt.spec.requested_at for receipt in cluster.receipts.values()
    }
    for part in revision.spec.parts if revision else ():
        shard = cluster.shards.get(uid := part.shard.uid)
        if shard is None or shard.metadata.deletion_timestamp or not shard.status.first_trained_at:
            continue
        own = cluster.store.pictures(uid, part.training_key)
        last = {
            digest: target for target, all_ in cluster.store.unlearned.items() for digest in all_
        }
        for target in {last[digest] for digest in own & last.keys()}:
            named = {shard_of(ShardUID(target)), *receipts_of(cluster, target)}
            is_named = named & set(shard.spec.relearn.split(","))
            is_before = shard.status.first_trained_at <= requested.get(target, "")
            is_known = target in requested and shard_of(ShardUID(target)) not in cluster.untraceable
            assert is_named or is_before or not is_known, f"{uid} has records that {target} had"
    for uid, shard in cluster.shards.items():
        gone = {picture(shard.metadata.name, name) for name in shard.status.left_out}
        kept = cluster.store.pictures(uid, shard.status.training_key or "")
        assert not gone & kept, f"{uid} kept a copy of a record that left it"


def receipts_of(cluster: SimulatedCluster, target: str) -> set[str]:
    """Return the names of a target's receipts."""
    return {
        receipt.metadata.name
        for receipt in cluster.receipts.values()
        if receipt.spec.shard.uid == target
    }


def require_overlaps_said(cluster: SimulatedCluster) -> None:
    """Assert that living shards which share a picture say so."""
    trained = {
        uid: cluster.store.pictures(uid, shard.status.training_key or "")
        for uid, shard in cluster.shards.items()
        if uid in cluster.living()
    }
    for uid, own in trained.items():
        if any(own & theirs for other, theirs in trained.items() if other != uid):
            conditions = cluster.shards[uid].status.conditions
            said_so = {each.type for each in conditions if each.status == "True"}
            assert "Overlaps" in said_so, f"{uid} shares records, and does not say so"


def require_rest(cluster: SimulatedCluster) -> None:
    """Assert the invariants of a settled cluster."""
    if not cluster.is_soup_gone:
        cluster.runs.late.clear()  # A rescan has run by now; after the Soup is gone there is none.
    require(cluster)
    if not cluster.namespace_ends:
        require_every_receipt_recorded(cluster)
    living = set(cluster.living())
    for name, uids in cluster.store.artefacts.items():
        if name in cluster.runs.late:
            continue
        left = {uid for uid in uids if "." not in uid} - living - cluster.untraceable
        assert not left, f"{name} has shards in its lineage that are gone: {left}"
    assert all(not shard.metadata.deletion_timestamp for shard in cluster.shards.values())
    assert all(map(is_paid, cluster.debts.values())) or not cluster.is_soup_gone
    if cluster.is_soup_gone:
        assert cluster.owed() <= cluster.store.completed(), "a debt was not paid"
    for uid in (cluster.stripped | cluster.forced) - cluster.untraceable:
        assert uid in cluster.store.completed(), f"{uid} went by force, and has no receipt"
    for uid in living:
        shard = cluster.shards[uid]
        assert not shard.status.former, f"{uid} has past trainings that are not unlearned"
        trained = [name for name in cluster.store.artefacts if name.startswith(f"shards/{uid}/")]
        assert len(trained) == 1, f"{uid} has artifacts of records that left: {trained}"
    if not (cluster.is_soup_gone or cluster.soup.metadata.deletion_timestamp):
        require_overlaps_said(cluster)
    expired = set(cluster.shards) - living
    assert expired <= cluster.store.completed(), "a shard that expired has no receipt"


Move = Callable[["History"], None]


class History:
    """One simulated cluster, and the moves on it."""

    def __init__(self, seed: int, moves: "Sequence[Move]") -> None:
        self.seed = seed
        self.moves = moves
        self.cluster = SimulatedCluster()
        self.old_plans: list[tuple[Action, ...]] = []
        self.story: list[str] = []
        self._random = random.Random(seed)

    def live(self, steps: int = STEPS) -> None:
        """Make random moves; then all goes well, and the cluster settles as a fresh one would."""
        try:
            for name in self._random.sample(NAMES, self._random.randint(0, 3)):
                self.cluster.add(name)
            if self.up_to(3):
                # Most faults need something that went well before.
                self.cluster.settle()
                if self.up_to(3) == 0:
                    self.cluster.delete_everything()
                elif uid := self.one_of(self.cluster.living()):
                    self.cluster.delete(uid)
            for _ in range(steps):
                move = self._random.choice(self.moves)
                self.story.append(move.__name__)
                move(self)
                require(self.cluster)
            self._end_well()
        except Exception as error:
            error.add_note(f"seed {self.seed}: {', '.join(self.story)}")
            raise

    def _end_well(self) -> None:
        cluster = self.cluster
        if cluster.soup.metadata.deletion_timestamp:
            self._end_without_a_soup()
            return
        for uid in cluster.living():
            shard = cluster.shards[uid]
            # What left without a verdict, because none was to be had in time, has left for good.
            right = {*RECORDS, *shard.status.left_out}
            named = {*shard.spec.exclude_records, *shard.status.left_out}
            cluster.exclude(uid, *sorted(named & right))
        cluster.weigh_by(Named(name="Declared"))
        cluster.settle()
        # Where a shard was forced away, its name was free before its receipt could be named. And
        # some records were unlearned with another shard.
        for uid in cluster.living():
            cluster.relearn_everything(uid)
        cluster.settle()
        twin = SimulatedCluster()
        for uid in cluster.living():
            shard = cluster.shards[uid]
            named = (record for record in shard.spec.exclude_records if record in RECORDS)
            twin.exclude(twin.add(shard.metadata.name), *named)
        twin.settle()
        assert cluster.served() == twin.served(), "it serves something else than a fresh cluster"
        require_rest(cluster)

    def _end_without_a_soup(self) -> None:
        cluster = self.cluster
        for uid in cluster.deletable():
            cluster.delete(uid)
        cluster.settle()
        assert cluster.is_soup_gone, "the Soup was deleted, and its object still exists"
        assert not cluster.shards
        require_rest(cluster)

    def one_of(self, things: Sequence[str]) -> str | None:
        """Return a random one; None where there is none."""
        return self._random.choice(things) if things else None

    def up_to(self, most: int) -> int:
        """Return a random number from 0 to `most`."""
        return self._random.randint(0, most)
