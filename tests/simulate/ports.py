"""The ports of the real round on a simulated cluster: stale reads, and crashes at each write."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulate.pods import Pod
from tests.simulate.runs import is_in_namespace, lineage_of

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.runspec import Location, Place, RunSpec, ServeRun, StoreRef
from stockpot.api.serving import Grant, ServerState
from stockpot.api.source import Source
from stockpot.api.v1alpha1 import (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.core.recipe import Lineage
from stockpot.core.revision import Promotion
from stockpot.core.runs import Run, RunName
from stockpot.core.servers import Server, ServerGrant
from stockpot.reconcile.objects.debt import is_paid, with_progress
from stockpot.reconcile.objects.receipt import is_same_receipt
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import ObservedObjects, ObservedServers, Ports
from stockpot.reconcile.run_specs import server_grant
from stockpot.serving import grants
from stockpot.serving.grants import GrantRefused, Holdings

if TYPE_CHECKING:
    from tests.simulate.cluster import SimulatedCluster


def ports_of(cluster: "SimulatedCluster") -> Ports:
    """All that a round needs."""
    return Ports(
        _Objects(cluster), _Runs(cluster), _Servers(cluster), _Environment(), cluster.clock
    )


class _Objects:
    """The API server's objects; each change is visible at once."""

    def __init__(self, cluster: "SimulatedCluster") -> None:
        self._cluster = cluster
        self._gone: Soup | None = None
        """The Soup that debts stand for, where the round is about one."""
        self._debts: dict[str, UnlearningDebt] = {}
        """The debts that the round has read."""

    def read(self, *, fresh: bool) -> ObservedObjects:
        cluster = self._cluster
        observed = cluster.observed()
        if not fresh and cluster.stale_by:
            observed = cluster.past[-min(cluster.stale_by, len(cluster.past))][0]
        self._gone = observed.soup if observed.is_soup_gone else None
        self._debts = dict(cluster.debts)
        return observed

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        cluster = self._cluster
        cluster.step()
        if self._gone is not None:
            self._gone = edit(self._gone)
        elif not cluster.is_soup_gone:
            cluster.soup = edit(cluster.soup)
            cluster.remove_released_soup()

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        cluster = self._cluster
        cluster.step()
        if uid not in cluster.shards:
            return
        new = cluster.shards[uid] = edit(cluster.shards[uid])
        if new.metadata.deletion_timestamp and not new.metadata.finalizers:
            del cluster.shards[uid]
            cluster.released.append(uid)

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        self._cluster.step()
        if name in self._cluster.revisions:
            self._cluster.revisions[name] = edit(self._cluster.revisions[name])

    def create(self, new: SoupRevision | UnlearningReceipt | UnlearningDebt) -> None:
        self._cluster.step()
        cluster = self._cluster
        if isinstance(new, UnlearningDebt):
            cluster.debts.setdefault(new.metadata.name, new)
        elif cluster.namespace_ends:
            cluster.was_refused = True
        elif isinstance(new, SoupRevision):
            cluster.revisions.setdefault(new.metadata.name, new)
        else:
            there = cluster.receipts.setdefault(new.metadata.name, new)
            assert is_same_receipt(there, new), "another receipt has its name"

    def delete_revision(self, name: str) -> None:
        self._cluster.step()
        self._cluster.revisions.pop(name, None)

    def flush(self) -> None:
        """Write what a round changed in debts; nothing else is buffered."""
        cluster = self._cluster
        if self._gone is None:
            return
        for name, debt in self._debts.items():
            if cluster.debts.get(name) is not debt or is_paid(debt):
                continue
            new = with_progress(debt, self._gone, {}, cluster.now)
            if new != debt:
                cluster.step()
                cluster.debts[name] = self._debts[name] = new


class _Runs:
    def __init__(self, cluster: "SimulatedCluster") -> None:
        self._cluster = cluster

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        cluster = self._cluster
        if not fresh and cluster.stale_by:
            return cluster.past[-min(cluster.stale_by, len(cluster.past))][1]
        return cluster.runs.observed()

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        cluster = self._cluster
        cluster.step()
        if not (cluster.namespace_ends and is_in_namespace(spec)):
            cluster.runs.begin(name, lineage, spec)

    def end(self, name: RunName) -> None:
        """Request the end of a run: it exists until that is confirmed."""
        self._cluster.step()
        if name in self._cluster.runs.known:
            self._cluster.runs.known[name].is_ending = True


class _Servers:
    def __init__(self, cluster: "SimulatedCluster") -> None:
        self._cluster = cluster

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        del fresh
        pods = self._cluster.pods
        servers = tuple(
            Server(pods[uid].name, uid, answers=False)
            if pods[uid].is_silent
            else server_view(pods[uid].name, self._state(pods[uid]), uid)
            for uid in pods.observed()
        )
        ended = frozenset(grant.uid for grant in granted if grant.uid in pods.confirmed)
        return ObservedServers(pods.replicas, servers, ended=ended)

    def _state(self, pod: Pod) -> ServerState:
        """Return what a server reports: its grants, and the head of the chain in its store."""
        chain = self._cluster.store.chain_head()
        return grants.report(pod.holdings).model_copy(update={"chain": chain})

    def scale(self, replicas: int, spec: ServeRun | None) -> None:
        del spec
        self._cluster.step()
        self._cluster.pods.scale(replicas)

    def prepare(self, server: str, instance_id: str, promotion: Promotion) -> None:
        self._send(grants.prepare, server, instance_id, promotion)

    def commit(self, server: str, instance_id: str, promotion: Promotion) -> None:
        def commit(state: Holdings, grant: Grant) -> tuple[Holdings, None]:
            return grants.commit(state, grant, now_s=0.0, drain_s=0.0), None

        self._send(commit, server, instance_id, promotion)

    def _send(
        self, do: Callable[..., Any], server: str, instance_id: str, promotion: Promotion
    ) -> None:
        self._cluster.step()
        pods = self._cluster.pods
        pod = next((pods[uid] for uid in pods.observed() if pods[uid].name == server), None)
        if pod is None or pod.is_silent:
            return
        grant = server_grant(instance_id, promotion)
        # A server fetches from the store: what is not there, or has a tombstone, it cannot hold.
        pairs = grant.revision.lineage
        lineage = {name for pair in pairs for name in lineage_of(pair.shard, pair.training_key)}
        if do is grants.prepare and lineage & self._cluster.store.tombstones:
            return
        try:
            pod.holdings = copy.copy(do(pod.holdings, grant)[0])
        except GrantRefused:
            return


class _Environment:
    store = StoreRef(url="file:///nowhere")
    signing_key = "key.pem"
    grant_keys = ()

    def namespace(self) -> NamespaceRef:
        return NamespaceRef()

    def locate(self, source: Source) -> Location:
        path = source.pvc.path if source.pvc else ""
        return Location(place=Place.FOLDER, path=f"/{path}")
