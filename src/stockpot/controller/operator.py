"""Assembles the operator: watches, leader election, workers and metrics.

A standby watches, so that its cache is warm; the leader also works. A leader that is not sure to
lead any more ends its process at once.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog

from stockpot import __version__
from stockpot.api.v1alpha1 import FINALIZER
from stockpot.authentication.key_file import GrantKeyFile
from stockpot.authentication.signatures import GrantSigner
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.election import Election
from stockpot.cluster.apiserver.pinned_namespaces import PinnedNamespaces
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    SOUPS,
    UNLEARNING_DEBTS,
)
from stockpot.cluster.apiserver.settings import OperatorSettings
from stockpot.controller.crds import require_crds
from stockpot.controller.deletion_recorder import DeletionRecorder
from stockpot.controller.namespace_lease import NamespaceLeases
from stockpot.controller.queue import Priority, Queue
from stockpot.controller.watch_manager import WatchManager
from stockpot.controller.watcher import key_of
from stockpot.controller.worker_pool import WorkerPool
from stockpot.core.plan import Plan
from stockpot.errors import ExitCode, StockpotError
from stockpot.kube.cache import Cache
from stockpot.kube.debts import soup_of_key, soup_still_exists
from stockpot.kube.event_recorder import EventRecorder
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.kube.status_writer import StatusWriter
from stockpot.kube.wiring import ClusterAccess, cluster_ports, debt_ports
from stockpot.metrics.facts import soup_facts, trainings_in_progress
from stockpot.metrics.operator import OperatorMetrics
from stockpot.metrics.probes import serve_operator
from stockpot.reconcile.loop import Round
from stockpot.reconcile.ports import Ports, SoupKey

log = structlog.get_logger("stockpot.operator")

WORKERS = 4
LEASE = "stockpot-operator"
STUCK_S = 180.0
"""A reconcile that takes this long will not end: the liveness probe fails, and the pod restarts."""
RETRY_S = 5.0
LOOK_AFTER_S = 1.0
LAST_ROUNDS_S = 20.0


def utc_now() -> datetime:
    """The clock of the operator."""
    return datetime.now(UTC)  # noqa: TID251  The only clock of the operator.


class Operator:
    """One operator process."""

    def __init__(self, client: Client, settings: OperatorSettings, identity: str) -> None:
        """Assemble it.

        Raises:
            Refused: The key that signs grants cannot be read.
        """
        self._client, self._settings, self._identity = client, settings, identity
        self._cache, self._queue, self._pods = Cache(), Queue(), PodClient()
        self._grant_key = GrantKeyFile(Path(settings.grant_key)) if settings.grant_key else None
        self.meters = OperatorMetrics(version=__version__)
        self.meters.watch_queue(self._queue.__len__)
        release = f"{settings.release.namespace}/{settings.release.name}"
        self._pinned = PinnedNamespaces(client, settings.release.namespace)
        self._namespaces = NamespaceLeases(
            client,
            settings.workload_namespaces,
            release,
            settings.release.binding,
            utc_now,
            self._is_used,
            self._push_all,
            self._pinned,
        )
        record_events = EventRecorder(client, utc_now, identity, log.warning)
        self._access = ClusterAccess(
            client,
            self._cache,
            settings,
            record_events,
            self._pods,
            PodEventReader(client),
            utc_now,
            self._grant_signer,
        )
        writer = StatusWriter(client, self._cache, record_events)
        self._deletions = DeletionRecorder(writer, self._namespaces.is_ours, utc_now)
        self._watches = WatchManager(
            client,
            self._cache,
            self._queue.push,
            self._deletions.submit,
            settings,
            self._push_all,
        )
        self._workers = WorkerPool(
            self._queue,
            self.ports_of,
            workers=WORKERS,
            may_work=self._may_work,
            before_round=self._deletions.wait_until_recorded,
            listed_s=self._watches.listed_s,
            now=utc_now,
            on_finished=self._on_finished,
            on_failed=lambda _, error, duration_s: self.meters.observe_failure(error, duration_s),
        )
        self._election = Election(
            client.with_timeout(5),
            settings.release.namespace,
            LEASE,
            identity,
            utc_now,
            is_well=self._is_well,
            on_elected=self._on_elected,
            on_lost=_end_at_once,
        )
        self._dropped: frozenset[str] = frozenset()
        """Namespaces that the settings do not list any more, and that have objects of ours."""
        self._ports: dict[SoupKey, Ports] = {}
        self._logged_plans: dict[SoupKey, Plan] = {}
        self._is_primed = threading.Event()
        self.stop = threading.Event()
        """Set it to stop the operator gracefully."""

    def run(self) -> None:
        """Work until `stop` is set."""
        self._wait_until(self._prepare)
        if not self.stop.is_set():
            while not self._watches.is_ready and not self.stop.is_set():
                self._watches.start_watchers()
                self.stop.wait(LOOK_AFTER_S)
            # What was listed stays for as long as its objects do. Without this, every full garbage
            # collection would walk through all of it, while everything else stands still.
            gc.collect()
            gc.freeze()
            self._is_primed.set()
            self._election.start()
            log.info("standing by", identity=self._identity)
        while not self.stop.wait(LOOK_AFTER_S):
            self._watches.start_watchers()
        self._deletions.stop()
        self._workers.stop(LAST_ROUNDS_S)
        self._namespaces.stop()
        self._election.stop()
        self._watches.stop()
        self._pods.close()

    @contextmanager
    def answering(self, port: int) -> Iterator[str]:
        """Answer probes and Prometheus while the context lasts."""
        with serve_operator(
            self.meters, is_live=self._is_well, is_ready=self._is_primed.is_set, port=port
        ) as url:
            yield url

    def ports_of(self, key: SoupKey) -> Ports:
        """Return the ports with which a soup is reconciled."""
        if key not in self._ports:
            is_debt = key.namespace == self._settings.release.namespace
            build_ports = debt_ports if is_debt else cluster_ports
            self._ports[key] = build_ports(self._access, key)
        return self._ports[key]

    def _grant_signer(self) -> GrantSigner:
        return self._grant_key.signer if self._grant_key else GrantSigner()

    def _is_well(self) -> bool:
        return self._workers.is_well(STUCK_S)

    def _on_elected(self) -> None:
        log.info("leading", identity=self._identity)
        self.meters.set_leader(True)
        try:
            # The leader before may have pinned one since this process started.
            self._add_dropped_namespaces()
        except StockpotError as error:
            log.error(error.message, help=error.help)
        self._namespaces.start()
        self._deletions.start()
        self._workers.start()  # Soups are queued as soon as their namespace is acquired.
        self._push_all(self._settings.release.namespace)

    def _prepare(self) -> None:
        require_crds(self._client)
        self._add_dropped_namespaces()

    def _add_dropped_namespaces(self) -> None:
        """Go on in namespaces that the settings do not list, and that have objects of ours."""
        listed = self._settings.workload_namespaces
        dropped = self._pinned.read() - {*listed, self._settings.release.namespace}
        for namespace in sorted(dropped - self._dropped):
            log.warning(
                "a namespace is not in workloadNamespaces any more, and has objects that need the "
                "operator: it is watched until the last of them is gone",
                namespace=namespace,
                help="add it to workloadNamespaces again, or delete its DataShards and Soups",
            )
        self._dropped |= dropped
        self._watches.add(dropped)
        self._namespaces.add(dropped)

    def _may_work(self, key: SoupKey) -> bool:
        """Whether a soup may be reconciled, or the debts of one whose object is gone."""
        if key.namespace != self._settings.release.namespace:
            return self._namespaces.is_ours(key.namespace)
        soup = soup_of_key(self._cache, key)
        return soup is None or not soup_still_exists(self._cache, soup)

    def _is_used(self, namespace: str) -> bool:
        if namespace in self._dropped and not self._watches.was_listed(namespace):
            return True  # It was when it was dropped; a listing says when it is not any more.
        if any(self._cache.soups(resource, namespace) for resource in (SOUPS, DATA_SHARDS)):
            return True
        # What may still write what is owed is looked for there, until it has ended.
        owed = {
            debt["spec"]["soup"]["uid"]
            for debt in self._cache.list(UNLEARNING_DEBTS, self._settings.release.namespace)
            if debt["spec"]["soup"]["namespace"] == namespace
            and FINALIZER in debt["metadata"].get("finalizers", ())
        }
        return any(
            self._cache.soups(resource, namespace) & owed for resource in (JOBS, PODS, DEPLOYMENTS)
        )

    def _push_all(self, namespace: str) -> None:
        names = {
            name
            for resource in (SOUPS, DATA_SHARDS)
            for name in self._cache.soups(resource, namespace)
        }
        keys = {SoupKey(namespace, name) for name in names if name}
        debts = self._cache.list(UNLEARNING_DEBTS, namespace)
        keys |= {key for debt in debts if (key := key_of(UNLEARNING_DEBTS, debt))}
        for key in sorted(keys):
            self._queue.push(key, Priority.RESYNC)

    def _wait_until(self, do: Callable[[], None]) -> None:
        logged = ""
        while not self.stop.is_set():
            try:
                do()
            except StockpotError as error:
                if error.message != logged:
                    log.error(error.message, help=error.help)
                logged = error.message
                self.stop.wait(RETRY_S)
            else:
                return

    def _on_finished(self, key: SoupKey, finished: Round, duration_s: float) -> None:
        plan = finished.plan
        if plan.actions and plan != self._logged_plans.get(key):
            # A plan is repeated until it takes effect: it is logged once.
            log.info(
                "a round",
                soup=f"{key.namespace}/{key.name}",
                actions=[type(action).__name__ for action in plan.actions],
                duration_ms=round(duration_s * 1000),
            )
        self._logged_plans[key] = plan
        observed = self.ports_of(key).objects.read(fresh=False)
        if observed.soup is None:
            self.meters.observe_round(key, None, duration_s)
            return
        running = trainings_in_progress(observed.shards)
        facts = soup_facts(observed.soup, observed.shards, observed.revisions)
        self.meters.observe_round(key, facts, duration_s)
        self.meters.observe_progress(key, running)


def _end_at_once(why: str) -> None:
    log.error("this operator lost the leadership, and ends", why=why)
    os._exit(ExitCode.INTERRUPTED)
