"""The real round's ports, filled by a kitchen: what it may read late, and where it may die."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulate.pods import Pod
from tests.simulate.runs import Workload, is_in_namespace, lineage_of

from stockpot.api.runspec import Location, Place, RunSpec, ServeRun, StoreRef
from stockpot.api.serving import Grant, ServerState
from stockpot.api.source import Source
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.core.recipe import Lineage
from stockpot.core.revision import Promotion
from stockpot.core.runs import Run, RunName
from stockpot.core.servers import Server, ServerGrant
from stockpot.reconcile.objects.receipt import is_same_receipt
from stockpot.reconcile.objects.server import server_view
from stockpot.reconcile.ports import ObservedObjects, ObservedServers, Ports
from stockpot.reconcile.run_specs import revision_ref
from stockpot.serving import grants
from stockpot.serving.grants import GrantRefused, Holdings

if TYPE_CHECKING:
    from tests.simulate.kitchen import Kitchen


def ports_of(kitchen: "Kitchen") -> Ports:
    """All that a round needs."""
    return Ports(_Objects(kitchen), _Runs(kitchen), _Servers(kitchen), _Around(), kitchen.clock)


class _Objects:
    """The API server's objects; each change is seen at once."""

    def __init__(self, kitchen: "Kitchen") -> None:
        self._kitchen = kitchen

    def read(self, *, fresh: bool) -> ObservedObjects:
        kitchen = self._kitchen
        if not fresh and kitchen.stale_by:
            return kitchen.past[-min(kitchen.stale_by, len(kitchen.past))][0]
        return kitchen.seen()

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        kitchen = self._kitchen
        kitchen.step()
        kitchen.soup = edit(kitchen.soup)
        meta = kitchen.soup.metadata
        kitchen.is_soup_gone |= bool(meta.deletion_timestamp and not meta.finalizers)

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
        kitchen = self._kitchen
        if kitchen.namespace_ends:
            kitchen.was_refused = True
        elif isinstance(new, SoupRevision):
            kitchen.revisions.setdefault(new.metadata.name, new)
        else:
            there = kitchen.receipts.setdefault(new.metadata.name, new)
            assert is_same_receipt(there, new), "another receipt has its name"

    def delete_revision(self, name: str) -> None:
        self._kitchen.step()
        self._kitchen.revisions.pop(name, None)

    def flush(self) -> None:
        """Nothing waits here."""


class _Runs:
    def __init__(self, kitchen: "Kitchen") -> None:
        self._kitchen = kitchen

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        kitchen = self._kitchen
        if not fresh and kitchen.stale_by:
            return kitchen.past[-min(kitchen.stale_by, len(kitchen.past))][1]
        return kitchen.runs.seen()

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start it; one of the name that is still ending is in the way, as a Job is."""
        kitchen = self._kitchen
        kitchen.step()
        if not (kitchen.namespace_ends and is_in_namespace(spec)):
            kitchen.runs.known.setdefault(name, Workload(spec, lineage))

    def end(self, name: RunName) -> None:
        """Ask it to end: it is there until that is confirmed."""
        self._kitchen.step()
        if name in self._kitchen.runs.known:
            self._kitchen.runs.known[name].is_ending = True


class _Servers:
    def __init__(self, kitchen: "Kitchen") -> None:
        self._kitchen = kitchen

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        del fresh
        pods = self._kitchen.pods
        servers = tuple(
            Server(pods[uid].name, uid, answers=False)
            if pods[uid].is_silent
            else server_view(pods[uid].name, self._state(pods[uid]), uid)
            for uid in pods.seen()
        )
        ended = frozenset(one.uid for one in granted if one.uid in pods.confirmed)
        return ObservedServers(pods.asked_for, servers, ended=ended)

    def _state(self, pod: Pod) -> ServerState:
        """What a server says: its grants, and where the receipts end in its store."""
        chain = self._kitchen.store.chain_head()
        return grants.report(pod.holdings).model_copy(update={"chain": chain})

    def scale(self, replicas: int, spec: ServeRun) -> None:
        del spec
        self._kitchen.step()
        self._kitchen.pods.scale(replicas)

    def prepare(self, server: str, boot: str, promotion: Promotion) -> None:
        self._send(grants.prepare, server, boot, promotion)

    def commit(self, server: str, boot: str, promotion: Promotion) -> None:
        def commit(state: Holdings, grant: Grant) -> tuple[Holdings, None]:
            return grants.commit(state, grant, now_s=0.0, drain_s=0.0), None

        self._send(commit, server, boot, promotion)

    def _send(self, do: Callable[..., Any], server: str, boot: str, promotion: Promotion) -> None:
        self._kitchen.step()
        pods = self._kitchen.pods
        pod = next((pods[uid] for uid in pods.seen() if pods[uid].name == server), None)
        if pod is None or pod.is_silent:
            return
        grant = Grant(
            boot=boot,
            epoch=promotion.epoch,
            number=promotion.number,
            revision=revision_ref(promotion.revision),
        )
        # A server fetches from the store: what is not there, or has a tombstone, it cannot hold.
        pairs = grant.revision.lineage
        lineage = {name for pair in pairs for name in lineage_of(pair.shard, pair.training_key)}
        if do is grants.prepare and lineage & self._kitchen.store.tombstones:
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
