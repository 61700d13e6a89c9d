"""A simulated cluster: the real round and the real grants of servers, without processes or files.

Everything that may go wrong is a method: processes crash, reads are stale, a deposed leader
resumes. Runs, pods, the store and the ports of the round each have a file beside this one. Here are
the API objects, and what users and operators do.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from tests.simulate.pods import Pods
from tests.simulate.ports import ports_of
from tests.simulate.runs import Runs, about, lineage_of
from tests.simulate.store import Store
from tests.simulate.true_conditions import answers_of, require_true_conditions

from stockpot.api.source import PvcSource, Source
from stockpot.api.training import Named
from stockpot.api.v1alpha1 import (
    FORCE_DELETE,
    RETRY,
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
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.core.recipe import ShardUID, shard_of
from stockpot.core.runs import Run
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.objects.debt import is_paid, owed_uids, soup_of
from stockpot.reconcile.objects.fields import instant, timestamp
from stockpot.reconcile.ports import ObservedObjects
from stockpot.serving import grants

DEADLINE = timedelta(seconds=3600)
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class OperatorCrashed(Exception):
    """The operator crashed in the middle of a round."""


class SimulatedCluster:
    """Everything outside the core, and everything that can go wrong with it."""

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
        """UIDs of shards whose objects went because a user removed the finalizer."""
        self.forced: set[str] = set()
        """UIDs of shards whose objects were forced away."""
        self.bared: set[str] = set()
        """UIDs of shards whose finalizer was ever removed by a user."""
        self.last_seen: dict[str, ShardUnlearning] = {}
        """Their status.unlearning when the finalizer was removed."""
        self.untraceable: set[str] = set()
        """Those of them that no other object names: the operator cannot know of them."""
        self.is_soup_gone = False
        """The Soup's object is gone."""
        self.namespace_ends = False
        """The namespace is being deleted: no object can be created in it."""
        self.was_refused = False
        """The API server refused to create an object there, so the operator knows."""
        self.debts: dict[str, UnlearningDebt] = {}
        """In the operator's namespace, which never ends."""
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

    # What users do.

    def add(self, name: str) -> str:
        # The first eight characters are unique, as those of real UIDs are.
        uid = f"{name[0]}{len(self.runs.trained):02}{len(self.past):04}x-{name}-uid"
        source = Source(pvc=PvcSource(claim_name="data", path=name))
        spec = DataShardSpec(soup_ref=NamedRef(name="soup"), source=source)
        self.shards[uid] = DataShard(
            metadata=ObjectMeta(name=name, uid=uid, generation=1), spec=spec
        )
        self.relearn(uid)
        return uid

    def relearn_everything(self, uid: str) -> None:
        """Name all that was ever unlearned in spec.relearn: receipts, and shards without one.

        And what the shard's condition names: it may have lost its finalizer while it was unlearned.
        """
        names = {receipt.metadata.name for receipt in self.receipts.values()}
        comparison = self.shards[uid].status.comparison
        named = {each.shard for each in comparison.returning} if comparison else set()
        uids = {shard_of(ShardUID(target)) for target in {*self.store.unlearned, *named}}
        self._allow(uid, sorted(names | uids))

    def _allow(self, uid: str, names: Sequence[str]) -> None:
        spec = self.shards[uid].spec.model_copy(update={"relearn": ",".join(names)})
        self.shards[uid] = self.shards[uid].model_copy(update={"spec": spec})

    def relearn(self, uid: str) -> None:
        """Name the last receipt of the same data in spec.relearn, as a user does."""
        shard = self.shards[uid]
        before = [
            receipt
            for receipt in self.receipts.values()
            if receipt.spec.shard.name == shard.metadata.name and receipt.spec.scope is Scope.SHARD
        ]
        last = max(before, key=lambda receipt: receipt.spec.sequence, default=None)
        # All but the records that it has in common with other data.
        uids = {
            shard_of(ShardUID(target))
            for target in self.store.unlearned
            if f"-{shard.metadata.name}-" in target
        }
        self._allow(uid, [*([last.metadata.name] if last else []), *sorted(uids)])

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
        """Remove a finalizer by hand."""
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
        """Delete a shard with the annotation that lets its object go at once."""
        shard = self.shards[uid]
        annotations = {"annotations": {FORCE_DELETE: "true"}}
        meta = shard.metadata.model_copy(update=annotations)
        self.shards[uid] = shard.model_copy(update={"metadata": meta})
        self.delete(uid)
        if uid in self.shards:
            self.forced.add(uid)

    def delete_soup(self) -> None:
        """Delete the Soup, whatever shards it has."""
        meta = self.soup.metadata
        if not meta.deletion_timestamp:
            meta = meta.model_copy(update={"deletion_timestamp": timestamp(self.now)})
            self.soup = self.soup.model_copy(update={"metadata": meta})
        self.remove_released_soup()

    def force_soup(self) -> None:
        """Delete the Soup, and annotate it so that it may go before the end."""
        annotations = {"annotations": {FORCE_DELETE: "true"}}
        meta = self.soup.metadata.model_copy(update=annotations)
        self.soup = self.soup.model_copy(update={"metadata": meta})
        self.delete_soup()

    def remove_released_soup(self) -> None:
        """Let the Soup's object go once it has no finalizer, and what it owns with it."""
        meta = self.soup.metadata
        if self.is_soup_gone or not meta.deletion_timestamp or meta.finalizers:
            return
        self.is_soup_gone = True
        self.revisions = {}
        self.runs.end_all()
        self.pods.end_all()

    def owed(self) -> frozenset[str]:
        """Return the UIDs of what was ever written into a debt."""
        return owed_uids(tuple(self.debts.values()))

    def delete_everything(self) -> None:
        """Delete all shards and the Soup, as `kubectl delete -f` of a folder does."""
        for uid in self.deletable():
            self.delete(uid)
        self.delete_soup()

    def delete_namespace(self) -> None:
        """Delete the namespace: objects without finalizers go, and none can be created."""
        self.namespace_ends = True
        self.delete_soup()
        for uid in self.deletable():
            self.delete(uid)
        self.revisions, self.receipts = {}, {}
        self.runs.end_all()
        self.pods.end_all()

    def has_trace(self, uid: str) -> bool:
        """Whether any object other than the shard's own names it, so that it can be missed.

        Where the namespace ends, a purge or a signing is none: no receipt has an object there that
        would say that all was done.
        """
        parts = (part for revision in self.revisions.values() for part in revision.spec.parts)
        ingredients = (pair for work in self.runs.known.values() for pair in work.lineage)
        abouts = (about(work.spec) for work in self.runs.known.values())
        return (
            any(part.shard.uid == uid for part in parts)
            or any(ingredient.shard == uid for ingredient in ingredients)
            or (
                not self.namespace_ends
                and uid in {shard_of(target) for uids in abouts for target in uids}
            )
            or any(note.uid == uid for note in self.soup.status.lost)
            or uid in self.owed()
        )

    def lose_traces(self) -> None:
        """Remember the shards whose last trace went before any round could observe it."""
        self.untraceable |= {
            uid for uid in self.stripped - self.store.completed() if not self.has_trace(uid)
        }

    def is_late(self, uid: str) -> bool:
        """Whether the unlearning of a target takes longer than its deadline."""
        uid, _, key = uid.partition(".")
        if key:
            return self.is_former_late(uid)
        if uid in self.forced:
            return True
        owed = {note.uid: note for debt in self.debts.values() for note in debt.spec.shards}
        if uid in owed and owed[uid].is_forced:
            return True
        lost = {note.uid: note.unlearning for note in (*owed.values(), *self.soup.status.lost)}
        recorded = self.shards[uid].status.unlearning if uid in self.shards else lost.get(uid)
        # Where the finalizer was removed, the first request counts as well as the one that was
        # recorded when that was discovered.
        known = [each for each in (recorded, self.last_seen.get(uid)) if each is not None]
        return any(self.now >= instant(each.requested_at) + DEADLINE for each in known)

    def is_former_late(self, uid: str) -> bool:
        """Whether the unlearning of records takes longer than the deadline."""
        notes = self.shards[uid].status.former if uid in self.shards else ()
        requested = (instant(note.unlearning.requested_at) for note in notes)
        return any(self.now >= at + DEADLINE for at in requested)

    def expire(self, uid: str) -> None:
        """Let a shard expire now."""
        spec = self.shards[uid].spec.model_copy(update={"expire_at": timestamp(self.now)})
        self.shards[uid] = self.shards[uid].model_copy(update={"spec": spec})

    def weigh_by(self, weighting: Named) -> None:
        """Set the weighting of the Soup."""
        merge = self.soup.spec.merge.model_copy(update={"weighting": weighting})
        spec = self.soup.spec.model_copy(update={"merge": merge})
        self.soup = self.soup.model_copy(update={"spec": spec})

    def exclude(self, uid: str, *records: str) -> None:
        """Set the records that are to leave a shard."""
        spec = self.shards[uid].spec.model_copy(update={"exclude_records": records})
        self.shards[uid] = self.shards[uid].model_copy(update={"spec": spec})

    def living(self) -> list[str]:
        """Return the shards that should be in the soup."""
        return sorted(
            uid
            for uid, shard in self.shards.items()
            if not (shard.metadata.deletion_timestamp or shard.spec.expire_at)
        )

    def deletable(self) -> list[str]:
        return sorted(u for u, s in self.shards.items() if not s.metadata.deletion_timestamp)

    # What the operator does.

    def round(self, *, dies_after: int | None = None, stale_by: int = 0) -> Round | None:
        """Reconcile once; the operator may crash after so many steps, or read a stale cache."""
        self.steps_to_live, self.stale_by = dies_after, stale_by
        self.was_refused = self.was_refused and dies_after is None  # A new process does not know.
        self.past.append((self.observed(), self.runs.observed()))
        answers = answers_of(self)
        try:
            last = reconcile(self.ports)
        except OperatorCrashed:
            return None
        finally:
            self.steps_to_live, self.stale_by = None, 0
        if not stale_by:
            require_true_conditions(self, answers)
        return last

    def ask_again(self) -> None:
        """Ask that everything which failed is tried again, as a user does by annotation."""
        annotations = {"annotations": {RETRY: timestamp(self.now)}}
        for uid in self.living():
            meta = self.shards[uid].metadata.model_copy(update=annotations)
            self.shards[uid] = self.shards[uid].model_copy(update={"metadata": meta})
        meta = self.soup.metadata
        if FORCE_DELETE not in meta.annotations:
            self.soup = self.soup.model_copy(
                update={"metadata": meta.model_copy(update=annotations)}
            )

    def step(self) -> None:
        if self.steps_to_live is not None:
            if self.steps_to_live == 0:
                raise OperatorCrashed
            self.steps_to_live -= 1

    def observed(self) -> ObservedObjects:
        debts = tuple(self.debts.values())
        if self.is_soup_gone and not all(map(is_paid, debts)):
            return ObservedObjects(soup_of(debts), namespace_terminates=True, is_soup_gone=True)
        if self.is_soup_gone:
            return ObservedObjects(None, tuple(self.shards.values()))
        return ObservedObjects(
            self.soup,
            tuple(self.shards.values()),
            tuple(self.revisions.values()),
            tuple(self.receipts.values()),
            namespace_terminates=self.was_refused or self.namespace_ends,
            debts=debts,
        )

    def restore(self, older: ObservedObjects) -> None:
        """Restore all objects from a backup."""
        assert older.soup
        self.soup = older.soup
        self.shards = {shard.metadata.uid: shard for shard in older.shards}
        self.revisions = {revision.metadata.name: revision for revision in older.revisions}
        self.receipts = {receipt.metadata.name: receipt for receipt in older.receipts}
        self.released = [uid for uid in self.released if uid not in self.shards]

    # What the invariants ask for.

    def traces_of(self, uid: str) -> Iterator[str]:
        """Return where anything of a shard still is."""
        for name, uids in self.store.artefacts.items():
            if uid in uids and name not in self.runs.late:
                yield f"store: {name}"
        for name, pod in sorted(self.pods.known.items()):
            for hold in grants.report(pod.holdings).holds:
                if any(uid in lineage_of(o.shard, o.training_key) for o in hold.lineage):
                    yield f"server: {name}"

    def served(self) -> set[str]:
        """Return the digests of the weights that servers serve."""
        return {
            pod.holdings.serving.granted.revision.weights_digest
            for pod in self.pods.served()
            if pod.holdings.serving
        }

    def confirm_ends(self) -> None:
        """Confirm every end that was requested."""
        for name in self.runs.ending():
            self.runs.confirm_end(name)
        for uid in self.pods.ending():
            self.pods.end(uid)
        self.lose_traces()

    def settle(self, bound: int = 200) -> int:
        """Let everything go well from now on; return how many rounds it takes to settle."""
        self._mend()
        for count in range(bound):
            self.confirm_ends()
            for name in self.runs.hidden():
                self.runs.reveal(name, self.now)
            for name in self.runs.active():
                self.runs.finish(name, self.now)
            self.pods.move()
            last = self.round()
            is_quiet = last is not None and not last.plan.actions
            if last and is_quiet and last.wake_at:
                self.now = max(self.now, last.wake_at)
                continue
            if last and is_quiet and not self._is_busy():
                if not self._needs_rescan(last):
                    return count
                self.now = max(self.now, last.due_at or self.now)
        raise AssertionError(f"not settled after {bound} rounds: {self.round()}")

    def _mend(self) -> None:
        """Mend what is broken, as its owners do: nodes, servers, the store, the settings."""
        for uid in self.pods.observed():
            self.pods[uid].is_silent = False
        for uid in self.pods.without_object():
            self.pods.end(uid)
        self.store.strays, self.store.is_away = 0, False
        if self.runs.settings:
            self.runs.change_settings(is_short=False)
            self.ask_again()
        for name in sorted(self.runs.frozen):
            self.runs.thaw(name)

    def _needs_rescan(self, last_round: Round) -> bool:
        """Whether no rescan has run since the last receipt or the last resurrected artifact."""
        is_late = bool(self.runs.late & self.store.artefacts.keys())
        if is_late and last_round.due_at and self.has_resurrected_artifacts():
            return True
        rescan = self.soup.status.collection
        last = max((r.spec.signed_at or "" for r in self.receipts.values()), default="")
        return last_round.due_at is not None and bool(last) and (rescan is None or rescan.at < last)

    def has_resurrected_artifacts(self) -> bool:
        """Whether the store has an artifact of an unlearned target again."""
        return any(self._is_resurrected(name) for name in self.runs.late)

    def _is_resurrected(self, name: str) -> bool:
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
