"""A world that obeys, for the simulator: the real round and the real server's grants, no files.

Whatever may go wrong is a method: processes die, reads are stale, a deposed leader wakes up. The
rules of each thing are those of the real one; runs, pods, the store and the round's ports each
have a file beside this one. Here are the objects, and what people and operators do.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.simulate.pods import Pods
from tests.simulate.ports import ports_of
from tests.simulate.runs import Runs, about, lineage_of
from tests.simulate.store import Store

from stockpot.api.source import PvcSource, Source
from stockpot.api.training import Named
from stockpot.api.v1alpha1 import (
    FORCE_DELETE,
    Base,
    DataShard,
    DataShardSpec,
    NamedRef,
    ObjectMeta,
    Scope,
    ShardUnlearning,
    Soup,
    SoupRevision,
    SoupSpec,
    UnlearningReceipt,
)
from stockpot.core.recipe import shard_of
from stockpot.core.runs import Run
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.objects.fields import instant, timestamp
from stockpot.reconcile.ports import ObservedObjects
from stockpot.serving import grants

DEADLINE = timedelta(seconds=3600)
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Died(Exception):
    """The operator, in the middle of a round."""


class Kitchen:
    """Everything outside the core, and all that can go wrong with it."""

    def __init__(self, replicas: int = 2) -> None:
        self.now = START
        self.store = Store()
        self.runs = Runs(self.store)
        self.pods = Pods()
        self.shards: dict[str, DataShard] = {}
        self.revisions: dict[str, SoupRevision] = {}
        self.receipts: dict[str, UnlearningReceipt] = {}
        self.released: list[str] = []
        self.stripped: set[str] = set()
        """Shards whose objects went because somebody took the finalizer away."""
        self.forced: set[str] = set()
        """Shards whose objects were to go at once."""
        self.bared: set[str] = set()
        """Shards whose finalizer was ever taken away."""
        self.last_seen: dict[str, ShardUnlearning] = {}
        """What those said of their unlearning when it was taken."""
        self.untraceable: set[str] = set()
        """Of those, such as no other object named: nobody can know of them."""
        self.is_soup_gone = False
        """The Soup's object went, after its finalizer did."""
        self.namespace_ends = False
        """The namespace is being deleted: nothing can be created in it any more."""
        self.was_refused = False
        """The operator tried to create something there, and knows."""
        self.steps_to_live: int | None = None
        self.past: list[tuple[ObservedObjects, tuple[Run, ...]]] = []
        self.stale_by = 0
        spec = SoupSpec.model_validate(
            {
                "base": Base(pvc=PvcSource(claim_name="base")),
                "membership": {"settleSeconds": 0},
                "serving": {"replicas": replicas},
                "training": {"maxAttempts": 50},
            }
        )
        meta = ObjectMeta(name="soup", uid="soup-uid", generation=1)
        self.soup = Soup(metadata=meta, spec=spec)
        self.ports = ports_of(self)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    # What people do.

    def add(self, name: str) -> str:
        # As of real ones, the first eight characters tell them apart.
        uid = f"{name[0]}{len(self.runs.trained):02}{len(self.past):04}x-{name}-uid"
        source = Source(pvc=PvcSource(claim_name="data", path=name))
        spec = DataShardSpec(soup_ref=NamedRef(name="soup"), source=source)
        self.shards[uid] = DataShard(
            metadata=ObjectMeta(name=name, uid=uid, generation=1), spec=spec
        )
        self.relearn(uid)
        return uid

    def relearn(self, uid: str) -> None:
        """Somebody knows that data was here before, and says so."""
        shard = self.shards[uid]
        before = [
            receipt
            for receipt in self.receipts.values()
            if receipt.spec.shard.name == shard.metadata.name and receipt.spec.scope is Scope.SHARD
        ]
        last = max(before, key=lambda one: one.spec.sequence, default=None)
        told = {"relearn": last.metadata.name if last else ""}
        self.shards[uid] = shard.model_copy(update={"spec": shard.spec.model_copy(update=told)})

    def delete(self, uid: str) -> None:
        shard = self.shards[uid]
        if not shard.metadata.finalizers:
            del self.shards[uid]
            if uid in self.bared:
                self.stripped.add(uid)
                if not self.has_trace(uid):
                    self.untraceable.add(uid)
            return
        meta = shard.metadata.model_copy(update={"deletion_timestamp": timestamp(self.now)})
        self.shards[uid] = shard.model_copy(update={"metadata": meta})

    def strip(self, uid: str) -> None:
        """Somebody takes a finalizer away by hand."""
        shard = self.shards[uid]
        meta = shard.metadata.model_copy(update={"finalizers": ()})
        self.bared.add(uid)
        if shard.status.unlearning:
            self.last_seen[uid] = shard.status.unlearning
        if not self.has_trace(uid):
            self.untraceable.add(uid)
        self.shards[uid] = shard.model_copy(update={"metadata": meta})
        if meta.deletion_timestamp:
            del self.shards[uid]
            self.stripped.add(uid)

    def force(self, uid: str) -> None:
        """Somebody who may do so deletes a shard and asks for its object to go at once."""
        shard = self.shards[uid]
        told = {"annotations": {FORCE_DELETE: "true"}}
        meta = shard.metadata.model_copy(update=told)
        self.shards[uid] = shard.model_copy(update={"metadata": meta})
        self.delete(uid)
        if uid in self.shards:
            self.forced.add(uid)

    def delete_soup(self) -> None:
        """Somebody deletes the Soup, whatever shards it has."""
        meta = self.soup.metadata
        if not meta.deletion_timestamp:
            meta = meta.model_copy(update={"deletion_timestamp": timestamp(self.now)})
            self.soup = self.soup.model_copy(update={"metadata": meta})
        self.is_soup_gone = self.is_soup_gone or not meta.finalizers

    def delete_namespace(self) -> None:
        """Somebody deletes the namespace: all goes that nothing holds, and nothing new comes."""
        self.namespace_ends = True
        self.delete_soup()
        for uid in self.deletable():
            self.delete(uid)
        self.revisions, self.receipts = {}, {}
        self.runs.end_all()
        self.pods.end_all()

    def has_trace(self, uid: str) -> bool:
        """Whether any object beside the shard's own names it."""
        parts = (part for revision in self.revisions.values() for part in revision.spec.parts)
        lineages = (one for work in self.runs.known.values() for one in work.lineage)
        told = (about(work.spec) for work in self.runs.known.values())
        return (
            any(part.shard.uid == uid for part in parts)
            or any(lineage.shard == uid for lineage in lineages)
            or uid in {shard_of(one) for uids in told for one in uids}
            or any(one.uid == uid for one in self.soup.status.lost)
        )

    def lose_traces(self) -> None:
        """Note of whom the last trace went before any round could have seen it."""
        self.untraceable |= {
            uid for uid in self.stripped - self.store.completed() if not self.has_trace(uid)
        }

    def is_late(self, uid: str) -> bool:
        """Whether its unlearning takes longer than it may."""
        uid, _, key = uid.partition(".")
        if key:
            return self.is_former_late(uid)
        if uid in self.forced:
            return True
        lost = {one.uid: one.unlearning for one in self.soup.status.lost}
        told = self.shards[uid].status.unlearning if uid in self.shards else lost.get(uid)
        # Of one whose finalizer was taken away, the first time counts as well as the one that was
        # written down when that was found out.
        known = [one for one in (told, self.last_seen.get(uid)) if one is not None]
        return any(self.now >= instant(one.requested_at) + DEADLINE for one in known)

    def is_former_late(self, uid: str) -> bool:
        """Whether it takes a shard longer than it may to forget records."""
        told = self.shards[uid].status.former if uid in self.shards else ()
        asked = (instant(one.unlearning.requested_at) for one in told)
        return any(self.now >= at + DEADLINE for at in asked)

    def expire(self, uid: str) -> None:
        """Its time is over."""
        spec = self.shards[uid].spec.model_copy(update={"expire_at": timestamp(self.now)})
        self.shards[uid] = self.shards[uid].model_copy(update={"spec": spec})

    def weigh_by(self, weighting: Named) -> None:
        """Somebody names another weighting."""
        merge = self.soup.spec.merge.model_copy(update={"weighting": weighting})
        spec = self.soup.spec.model_copy(update={"merge": merge})
        self.soup = self.soup.model_copy(update={"spec": spec})

    def exclude(self, uid: str, *records: str) -> None:
        """Somebody names the records that are to leave a shard."""
        spec = self.shards[uid].spec.model_copy(update={"exclude_records": records})
        self.shards[uid] = self.shards[uid].model_copy(update={"spec": spec})

    def living(self) -> list[str]:
        """Shards that are to be in the soup."""
        return sorted(
            uid
            for uid, shard in self.shards.items()
            if not (shard.metadata.deletion_timestamp or shard.spec.expire_at)
        )

    def deletable(self) -> list[str]:
        return sorted(u for u, s in self.shards.items() if not s.metadata.deletion_timestamp)

    # What the operator does.

    def round(self, *, dies_after: int | None = None, stale_by: int = 0) -> Round | None:
        """Reconcile once; the operator may die after so many steps, or read from an old cache."""
        self.steps_to_live, self.stale_by = dies_after, stale_by
        self.was_refused = self.was_refused and dies_after is None  # Another process knows nothing.
        self.past.append((self.seen(), self.runs.seen()))
        try:
            return reconcile(self.ports)
        except Died:
            return None
        finally:
            self.steps_to_live, self.stale_by = None, 0

    def step(self) -> None:
        if self.steps_to_live is not None:
            if self.steps_to_live == 0:
                raise Died
            self.steps_to_live -= 1

    def seen(self) -> ObservedObjects:
        if self.is_soup_gone:
            return ObservedObjects(None, tuple(self.shards.values()))
        return ObservedObjects(
            self.soup,
            tuple(self.shards.values()),
            tuple(self.revisions.values()),
            tuple(self.receipts.values()),
            namespace_terminates=self.was_refused,
        )

    def restore(self, older: ObservedObjects) -> None:
        """All objects are as they were in a backup."""
        assert older.soup
        self.soup = older.soup
        self.shards = {shard.metadata.uid: shard for shard in older.shards}
        self.revisions = {revision.metadata.name: revision for revision in older.revisions}
        self.receipts = {receipt.metadata.name: receipt for receipt in older.receipts}
        self.released = [uid for uid in self.released if uid not in self.shards]

    # What has to be true.

    def traces_of(self, uid: str) -> Iterator[str]:
        """Where anything of a shard still is."""
        for name, uids in self.store.artefacts.items():
            if uid in uids and name not in self.runs.late:
                yield f"store: {name}"
        for name, pod in sorted(self.pods.known.items()):
            for hold in grants.report(pod.holdings).holds:
                if any(uid in lineage_of(o.shard, o.training_key) for o in hold.lineage):
                    yield f"server: {name}"

    def served(self) -> set[str]:
        """The weights that servers answer with."""
        return {
            pod.holdings.serving.granted.revision.weights_digest
            for pod in self.pods.served()
            if pod.holdings.serving
        }

    def promoted_and_served(self) -> set[str]:
        """The recipes that servers answer with, or are to answer with, where nothing is late."""
        current = self.soup.status.current_revision
        if self.soup.metadata.deletion_timestamp:
            current = None  # Nobody is granted it any more.
        serving = (
            pod.holdings.serving.granted.revision
            for pod in self.pods.served()
            if pod.holdings.serving and pod.is_seen
        )
        return {
            *({current.recipe_digest} if current else ()),
            *(
                one.recipe_digest
                for one in serving
                if not any(
                    self.is_late(gone)
                    for pair in one.lineage
                    for gone in lineage_of(pair.shard, pair.training_key)
                )
            ),
        }

    def confirm_ends(self) -> None:
        """Let kubelets confirm the end of whatever was asked to end."""
        for name in self.runs.ending():
            self.runs.confirm_end(name)
        for uid in self.pods.ending():
            self.pods.end(uid)
        self.lose_traces()

    def settle(self, bound: int = 200) -> int:
        """Let everything go well from now on, and count the rounds until nothing is asked for."""
        for uid in self.pods.seen():
            self.pods[uid].is_silent = False
        for uid in self.pods.unseen():
            self.pods.end(uid)
        self.store.strays = 0
        for name in sorted(self.runs.frozen):
            self.runs.thaw(name)
        for count in range(bound):
            self.confirm_ends()
            for name in self.runs.hidden():
                self.runs.reveal(name, self.now)
            for name in self.runs.active():
                self.runs.finish(name, self.now)
            self.pods.move()
            one = self.round()
            quiet = one is not None and not one.plan.actions
            if one and quiet and one.wake_at:
                self.now = max(self.now, one.wake_at)
                continue
            if one and quiet and not self._is_busy():
                if not self._is_to_look(one):
                    return count
                self.now = max(self.now, one.due_at or self.now)
        raise AssertionError(f"not settled after {bound} rounds: {self.round()}")

    def _is_to_look(self, one: Round) -> bool:
        """Whether anything that came back of what was forgotten has not been looked for yet."""
        is_late = bool(self.runs.late & self.store.artefacts.keys())
        if is_late and one.due_at and self.forgotten_again():
            return True
        looked = self.soup.status.collection
        last = max((r.spec.signed_at or "" for r in self.receipts.values()), default="")
        return one.due_at is not None and bool(last) and (looked is None or looked.at < last)

    def forgotten_again(self) -> bool:
        """Whether something that was forgotten lies in the store again."""
        return any(self._is_forgotten(name) for name in self.runs.late)

    def _is_forgotten(self, name: str) -> bool:
        if self.store.artefacts.get(name, frozenset()) & self.store.completed():
            return True
        kind, uid, *key = name.split("/")
        shard = self.shards.get(uid) if kind == "shards" else None
        is_old = shard is not None and key != [shard.status.training_key]
        is_old = is_old and shard is not None and bool(shard.status.left_out)
        return name in self.store.artefacts and is_old

    def _is_busy(self) -> bool:
        moving = any(pod.is_moving for pod in self.pods.known.values())
        return moving or bool(
            self.runs.active() or self.runs.hidden() or self.runs.ending() or self.pods.ending()
        )
