"""A world that obeys, for the simulator: the real round and the real server's grants, no files.

Whatever may go wrong is a method: processes die, reads are stale, a deposed leader wakes up. The
rules of each thing here are those of the real one: objects as the API server keeps them, runs that
read tombstones at start and before they publish, servers with the real state machine of grants.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from stockpot.api.runspec import (
    EvaluateRun,
    Location,
    MergeRun,
    Place,
    PurgeRun,
    RunResult,
    RunSpec,
    ServeRun,
    SignRun,
    StoreRef,
    TrainRun,
)
from stockpot.api.serving import Grant
from stockpot.api.source import PvcSource, Source
from stockpot.api.v1alpha1 import (
    Base,
    DataShard,
    DataShardSpec,
    NamedRef,
    ObjectMeta,
    Soup,
    SoupRevision,
    SoupSpec,
    UnlearningReceipt,
)
from stockpot.core.digests import digest_of_bytes, digest_of_json
from stockpot.core.recipe import Lineage
from stockpot.core.world import Failure, GrantedServer, Promotion, Run, RunName, Server
from stockpot.reconcile.edits import timestamp
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.orders import revision_ref
from stockpot.reconcile.ports import Asked, Ports, Seen
from stockpot.reconcile.views import instant, server_view
from stockpot.serving import grants
from stockpot.serving.grants import GrantRefused, Holdings

DEADLINE = timedelta(seconds=3600)
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE = digest_of_bytes(b"base")


class Died(Exception):
    """The operator, in the middle of a round."""


@dataclass
class Store:
    """What lies in the store: for each artefact the shard UIDs of its lineage."""

    artefacts: dict[str, frozenset[str]] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    receipts: list[tuple[str, bool]] = field(default_factory=list)
    """For each of the chain: of which shard, and whether it is Complete."""
    strays: int = 0
    """Objects of unknown lineage."""

    def publish(self, name: str, uids: frozenset[str], *, is_cleared: bool = False) -> bool:
        """Write an artefact, unless a tombstone stands for any of its lineage."""
        if uids & self.tombstones and not is_cleared:
            return False
        self.artefacts[name] = uids
        return True


@dataclass
class Workload:
    """A run, as its process knows it."""

    spec: RunSpec
    lineage: Lineage
    outcome: RunResult | Failure | None = None
    ended_at: datetime | None = None
    is_cleared: bool = False
    """It has looked for tombstones a last time, and publishes whatever comes."""


@dataclass
class Pod:
    """A server, as its process knows it."""

    holdings: Holdings
    name: str = ""
    is_silent: bool = False
    is_seen: bool = True
    """Its object is there. A process goes on where somebody deleted that by force."""

    def move(self, *, dropping: bool = True) -> None:
        """Do what is under way: fetch, warm up, and drop, unless requests still use it."""
        for one in self.holdings.held:
            if one.stage is grants.Stage.FETCHING:
                self.holdings = grants.fetched(self.holdings, one.token)
            elif one.stage is grants.Stage.LOADED:
                self.holdings = grants.warmed(self.holdings, one.token)
        for token in grants.to_drop(self.holdings) if dropping else ():
            self.holdings = grants.gone(self.holdings, token)


class Kitchen:
    """Everything outside the core, and all that can go wrong with it."""

    def __init__(self, replicas: int = 2) -> None:
        self.now = START
        self.store = Store()
        self.shards: dict[str, DataShard] = {}
        self.revisions: dict[str, SoupRevision] = {}
        self.receipts: dict[str, UnlearningReceipt] = {}
        self.workloads: dict[RunName, Workload] = {}
        self.pods: dict[str, Pod] = {}
        """By UID, for as long as the process is there."""
        self.confirmed: set[str] = set()
        """UIDs of pods whose end the kubelet has confirmed."""
        self.frozen: set[RunName] = set()
        """Writers that were stopped in the middle, and of which nobody knows any more."""
        self.asked_for = 0
        self.thawing: dict[RunName, Workload] = {}
        self.boots = 0
        self.trained: list[str] = []
        self.released: list[str] = []
        self.stripped: set[str] = set()
        """Shards whose objects went because somebody took the finalizer away."""
        self.bared: set[str] = set()
        """Shards whose finalizer was ever taken away."""
        self.untraceable: set[str] = set()
        """Of those, such as no other object named: nobody can know of them."""
        self.steps_to_live: int | None = None
        self.past: list[tuple[Seen, tuple[Run, ...]]] = []
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
        self.ports = Ports(_Objects(self), _Runs(self), _Servers(self), _Around(), self.clock)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    # What people do.

    def add(self, name: str) -> None:
        uid = f"{name}-{len(self.trained)}-{len(self.past)}-uid"
        source = Source(pvc=PvcSource(claim_name="data", path=name))
        # Whoever adds it knows that it was here before, and says so.
        before = [one for one in self.receipts.values() if one.spec.shard.name == name]
        last = max(before, key=lambda one: one.spec.sequence, default=None)
        relearn = last.metadata.name if last else ""
        spec = DataShardSpec(soup_ref=NamedRef(name="soup"), source=source, relearn=relearn)
        self.shards[uid] = DataShard(
            metadata=ObjectMeta(name=name, uid=uid, generation=1), spec=spec
        )

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
        if not self.has_trace(uid):
            self.untraceable.add(uid)
        self.shards[uid] = shard.model_copy(update={"metadata": meta})
        if meta.deletion_timestamp:
            del self.shards[uid]
            self.stripped.add(uid)

    def has_trace(self, uid: str) -> bool:
        """Whether any object beside the shard's own names it."""
        parts = (part for one in self.revisions.values() for part in one.spec.parts)
        lineages = (one for work in self.workloads.values() for one in work.lineage)
        return (
            any(part.shard.uid == uid for part in parts)
            or any(one.shard == uid for one in lineages)
            or any(one.uid == uid for one in self.soup.status.lost)
        )

    def is_late(self, uid: str) -> bool:
        """Whether its unlearning takes longer than it may."""
        lost = {one.uid: one.unlearning for one in self.soup.status.lost}
        told = self.shards[uid].status.unlearning if uid in self.shards else lost.get(uid)
        return told is not None and self.now >= instant(told.requested_at) + DEADLINE

    def expire(self, uid: str) -> None:
        """Its time is over."""
        spec = self.shards[uid].spec.model_copy(update={"expire_at": timestamp(self.now)})
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
        self.past.append((self.seen(), self.runs()))
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

    def seen(self) -> Seen:
        return Seen(
            self.soup,
            tuple(self.shards.values()),
            tuple(self.revisions.values()),
            tuple(self.receipts.values()),
        )

    def runs(self) -> tuple[Run, ...]:
        return tuple(
            Run(
                name,
                one.lineage,
                result=one.outcome if isinstance(one.outcome, RunResult) else None,
                failure=one.outcome if isinstance(one.outcome, Failure) else None,
                ended_at=one.ended_at,
            )
            for name, one in sorted(self.workloads.items())
        )

    # What processes do.

    def active(self) -> list[RunName]:
        return sorted(name for name, one in self.workloads.items() if one.outcome is None)

    def finish(self, name: RunName) -> None:
        work = self.workloads[name]
        work.outcome, work.ended_at = (
            self.outcome_of(work.spec, is_cleared=work.is_cleared),
            self.now,
        )

    def freeze(self, name: RunName) -> None:
        """A node stops answering with a writer on it; somebody deletes its pod by force."""
        self.frozen.add(name)
        self.thawing[name] = self.workloads.pop(name)
        # The last trace of a shard may go with it, before any round could have seen it.
        self.untraceable |= {
            uid for uid in self.stripped - self.completed() if not self.has_trace(uid)
        }

    def thaw(self, name: RunName) -> None:
        """What was stopped goes on, and does what it still meant to, unseen."""
        self.frozen.discard(name)
        self.outcome_of(self.thawing.pop(name).spec)

    def crash(self, name: RunName) -> None:
        self.workloads[name].outcome = Failure(None, "killed")

    def outcome_of(  # noqa: C901 - one arm a verb
        self, spec: RunSpec, *, is_cleared: bool = False
    ) -> RunResult | Failure:
        forgotten = Failure(47, "a tombstone stands for it")
        match spec:
            case TrainRun():
                key = digest_of_json("key", spec.source.path)
                place = f"shards/{spec.shard.uid}"
                found = place in self.store.artefacts  # Its work is done: it says so, and ends.
                if not self.store.publish(
                    place, frozenset({spec.shard.uid}), is_cleared=is_cleared
                ):
                    return forgotten
                if not found:
                    self.trained.append(spec.shard.uid)
                return RunResult(
                    training_key=key,
                    weights_digest=digest_of_json("weights", spec.source.path),
                    base_digest=BASE,
                    data_digest=digest_of_json("data", spec.source.path),
                    records=1,
                )
            case MergeRun():
                uids = frozenset(part.shard_uid for part in spec.parts)
                place = f"revisions/{spec.recipe_digest}"
                if not all(f"shards/{uid}" in self.store.artefacts for uid in uids):
                    return Failure(46, "an ingredient is not there")
                if not self.store.publish(place, uids, is_cleared=is_cleared):
                    return forgotten
                return RunResult(weights_digest=merged_digest(spec), base_digest=BASE)
            case PurgeRun():
                self.store.tombstones.add(spec.shard.uid)
                doomed = [n for n, uids in self.store.artefacts.items() if spec.shard.uid in uids]
                for name in doomed:
                    del self.store.artefacts[name]
                left = str(self.store.strays)
                return RunResult(purged_objects=len(doomed), figures={"residuals": left})
            case SignRun():
                return self.sign(spec)
            case EvaluateRun() | ServeRun():
                return RunResult()

    def sign(self, spec: SignRun) -> RunResult:
        """Find the receipt that is asked for, or write the next of the chain."""
        uid, chain = spec.shard.uid, self.store.receipts
        found = [
            place
            for place, (shard, complete) in enumerate(chain, start=1)
            if shard == uid and (complete or place > spec.after)
        ]
        if not found:
            chain.append((uid, not (self.store.strays or spec.missing)))
            found = [len(chain)]
        complete = chain[found[-1] - 1][1]
        return RunResult(
            receipt_sequence=found[-1],
            receipt_digest=digest_of_json("receipt", found[-1]),
            missing=spec.missing,
            figures={"residuals": "0", "missing": "0" if complete else "1"},
        )

    def completed(self) -> set[str]:
        """Shards of which the chain says that nothing is missing."""
        return {uid for uid, complete in self.store.receipts if complete}

    def move_pods(self, *, dropping: bool = True) -> None:
        for pod in self.pods.values():
            pod.move(dropping=dropping)

    def begin(self, name: str) -> None:
        """A pod begins, holding nothing."""
        self.boots += 1
        self.pods[f"{name}-{self.boots}"] = Pod(Holdings(f"boot-{self.boots}"), name)

    def restart(self, uid: str) -> None:
        """A server's process ends, and another begins in the same pod."""
        self.boots += 1
        old = self.pods[uid]
        self.pods[uid] = Pod(Holdings(f"boot-{self.boots}"), old.name, is_seen=old.is_seen)

    def replace(self, uid: str) -> None:
        """A pod is deleted as it should be, and another takes its place."""
        name = self.pods.pop(uid).name
        self.confirmed.add(uid)
        self.begin(name)

    def delete_by_force(self, uid: str) -> None:
        """Somebody deletes a pod's object; its process goes on, on a node that does not answer."""
        self.pods[uid].is_seen = False
        self.begin(self.pods[uid].name)

    def end_unseen(self, uid: str) -> None:
        """A process ends whose object is gone, and its node is said to be out of service."""
        del self.pods[uid]
        self.confirmed.add(uid)

    def silence(self, uid: str, *, silent: bool) -> None:
        self.pods[uid].is_silent = silent

    def seen_pods(self) -> list[str]:
        return sorted(uid for uid, pod in self.pods.items() if pod.is_seen)

    def unseen_pods(self) -> list[str]:
        return sorted(uid for uid, pod in self.pods.items() if not pod.is_seen)

    # What has to be true.

    def traces_of(self, uid: str) -> Iterator[str]:
        """Where anything of a shard still is."""
        for name, uids in self.store.artefacts.items():
            if uid in uids:
                yield f"store: {name}"
        for name, pod in sorted(self.pods.items()):
            for one in grants.report(pod.holdings).holds:
                if any(pair.shard == uid for pair in one.lineage):
                    yield f"server: {name}"

    def served(self) -> set[str]:
        """The weights that servers answer with."""
        return {
            pod.holdings.serving.granted.revision.weights_digest
            for pod in self.pods.values()
            if pod.holdings.serving
        }

    def promoted_and_served(self) -> set[str]:
        """The recipes that servers answer with, or are to answer with, where nothing is late."""
        current = self.soup.status.current_revision
        serving = (
            pod.holdings.serving.granted.revision
            for pod in self.pods.values()
            if pod.holdings.serving and pod.is_seen
        )
        return {
            *({current.recipe_digest} if current else ()),
            *(
                one.recipe_digest
                for one in serving
                if not any(self.is_late(pair.shard) for pair in one.lineage)
            ),
        }

    def settle(self, bound: int = 200) -> int:
        """Let everything go well from now on, and count the rounds until nothing is asked for."""
        for uid in self.seen_pods():
            self.silence(uid, silent=False)
        for uid in self.unseen_pods():
            self.end_unseen(uid)
        self.store.strays = 0
        for name in sorted(self.frozen):
            self.thaw(name)
        for count in range(bound):
            for name in self.active():
                self.finish(name)
            self.move_pods()
            one = self.round()
            quiet = one is not None and not one.plan.actions
            if one and quiet and one.wake_at:
                self.now = max(self.now, one.wake_at)
                continue
            if quiet and not self.active() and not self._is_moving():
                return count
        raise AssertionError(f"not settled after {bound} rounds: {self.round()}")

    def _is_moving(self) -> bool:
        return any(
            one.stage is not grants.Stage.SERVING
            for pod in self.pods.values()
            for one in pod.holdings.held
        )


def merged_digest(spec: MergeRun) -> str:
    """The bytes of a merge depend on ingredients and weights alone, not on UIDs."""
    parts = sorted([part.weights_digest, str(part.weight)] for part in spec.parts)
    return digest_of_json("merged", parts)


class _Objects:
    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen

    def read(self, *, fresh: bool) -> Seen:
        kitchen = self._kitchen
        if not fresh and kitchen.stale_by:
            return kitchen.past[-min(kitchen.stale_by, len(kitchen.past))][0]
        return kitchen.seen()

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        self._kitchen.step()
        self._kitchen.soup = edit(self._kitchen.soup)

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        kitchen = self._kitchen
        kitchen.step()
        if uid not in kitchen.shards:
            return
        new = kitchen.shards[uid] = edit(kitchen.shards[uid])
        if new.metadata.deletion_timestamp and not new.metadata.finalizers:
            del kitchen.shards[uid]
            kitchen.released.append(uid)

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        self._kitchen.step()
        if name in self._kitchen.revisions:
            self._kitchen.revisions[name] = edit(self._kitchen.revisions[name])

    def create(self, new: SoupRevision | UnlearningReceipt) -> None:
        self._kitchen.step()
        place: Any = self._kitchen.revisions
        if isinstance(new, UnlearningReceipt):
            place = self._kitchen.receipts
        place.setdefault(new.metadata.name, new)

    def delete_revision(self, name: str) -> None:
        self._kitchen.step()
        self._kitchen.revisions.pop(name, None)

    def flush(self) -> None:
        """Nothing waits here: each change is seen at once."""


class _Runs:
    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        kitchen = self._kitchen
        if not fresh and kitchen.stale_by:
            return kitchen.past[-min(kitchen.stale_by, len(kitchen.past))][1]
        return kitchen.runs()

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        self._kitchen.step()
        self._kitchen.workloads.setdefault(name, Workload(spec, lineage))

    def end(self, name: RunName) -> None:
        self._kitchen.step()
        self._kitchen.workloads.pop(name, None)


class _Servers:
    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen

    def ask(self, granted: Sequence[GrantedServer], *, fresh: bool) -> Asked:
        del fresh
        kitchen = self._kitchen
        servers = tuple(
            Server(pod.name, uid, answers=False)
            if pod.is_silent
            else server_view(pod.name, grants.report(pod.holdings), uid)
            for uid, pod in sorted(kitchen.pods.items())
            if pod.is_seen
        )
        ended = frozenset(one.uid for one in granted if one.uid in kitchen.confirmed)
        return Asked(kitchen.asked_for, servers, ended=ended)

    def scale(self, replicas: int, spec: ServeRun) -> None:
        del spec
        self._kitchen.step()
        self._kitchen.asked_for = replicas
        kitchen = self._kitchen
        for uid in kitchen.seen_pods():
            if int(kitchen.pods[uid].name.removeprefix("pod-")) >= replicas:
                del kitchen.pods[uid]
                kitchen.confirmed.add(uid)
        there = {kitchen.pods[uid].name for uid in kitchen.seen_pods()}
        for number in range(replicas):
            if f"pod-{number}" not in there:
                kitchen.begin(f"pod-{number}")

    def prepare(self, server: str, boot: str, promotion: Promotion) -> None:
        self._send(grants.prepare, server, boot, promotion)

    def commit(self, server: str, boot: str, promotion: Promotion) -> None:
        def commit(state: Holdings, grant: Grant) -> tuple[Holdings, None]:
            return grants.commit(state, grant, now_s=0.0, drain_s=0.0), None

        self._send(commit, server, boot, promotion)

    def _send(self, do: Callable[..., Any], server: str, boot: str, promotion: Promotion) -> None:
        self._kitchen.step()
        kitchen = self._kitchen
        named = (kitchen.pods[uid] for uid in kitchen.seen_pods())
        pod = next((one for one in named if one.name == server), None)
        if pod is None or pod.is_silent:
            return
        grant = Grant(
            boot=boot,
            epoch=promotion.epoch,
            number=promotion.number,
            revision=revision_ref(promotion.revision),
        )
        # A server fetches from the store: what is not there, or has a tombstone, it cannot hold.
        uids = {pair.shard for pair in grant.revision.lineage}
        if do is grants.prepare and uids & self._kitchen.store.tombstones:
            return
        try:
            pod.holdings = copy.copy(do(pod.holdings, grant)[0])
        except GrantRefused:
            return


class _Around:
    store = StoreRef(url="file:///nowhere")
    signing_key = "key.pem"

    def locate(self, source: Source) -> Location:
        path = source.pvc.path if source.pvc else ""
        return Location(place=Place.FOLDER, path=f"/{path}")
