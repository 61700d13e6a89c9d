"""The operator put together: what watches, what leads, what works, what is measured.

Standing by it watches, so that its cache is warm; leading it works. A leader that cannot be sure
that it leads ends its process at once.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from stockpot import __version__
from stockpot.api.v1alpha1 import DataShard
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.election import Election
from stockpot.cluster.apiserver.resources import DATA_SHARDS, SOUPS
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
from stockpot.kube.event_recorder import EventRecorder
from stockpot.kube.pod_client import PodClient
from stockpot.kube.pod_events import PodEventReader
from stockpot.kube.status_writer import StatusWriter
from stockpot.kube.wiring import cluster_ports
from stockpot.metrics.facts import soup_facts
from stockpot.metrics.operator import OperatorMetrics
from stockpot.metrics.probes import serve_operator
from stockpot.reconcile.loop import Round
from stockpot.reconcile.ports import Ports, SoupKey

log = structlog.get_logger("stockpot.operator")

WORKERS = 4
LEASE = "stockpot-operator"
STUCK_S = 180.0
"""A round that takes so long will not end: the process is better begun anew."""
RETRY_S = 5.0
LOOK_AFTER_S = 1.0
LAST_ROUNDS_S = 20.0


def utc_now() -> datetime:
    """The clock of the operator."""
    return datetime.now(UTC)  # noqa: TID251  This is the one that everybody is told.


class Operator:
    """All parts of one operator process."""

    def __init__(self, client: Client, settings: OperatorSettings, identity: str) -> None:
        self._client, self._settings, self._identity = client, settings, identity
        self._cache, self._queue, self._asking = Cache(), Queue(), PodClient()
        self._happenings = PodEventReader(client)
        self.meters = OperatorMetrics(version=__version__)
        self.meters.watch_queue(self._queue.__len__)
        release = f"{settings.release.namespace}/{settings.release.name}"
        self._keeping = NamespaceLeases(
            client,
            settings.workload_namespaces,
            release,
            settings.release.binding,
            utc_now,
            self._is_used,
            self._push_all,
        )
        self._announce = EventRecorder(client, utc_now, identity, log.warning)
        writer = StatusWriter(client, self._cache, self._announce)
        self._noting = DeletionRecorder(writer, self._keeping.is_ours, utc_now)
        self._engine = WorkerPool(
            self._queue,
            self.ports_of,
            workers=WORKERS,
            may_work=self._keeping.is_ours,
            let_pass=self._noting.let_pass,
            now=utc_now,
            finished=self._finished,
            failed=lambda _, error, duration_s: self.meters.observe_failure(error, duration_s),
        )
        told = (self._queue.push, self._noting.hear)
        self._streams = WatchManager(client, self._cache, *told, settings, self._push_all)
        self._election = Election(
            client.within(5),
            settings.release.namespace,
            LEASE,
            identity,
            utc_now,
            is_well=self._is_well,
            elected=self._elected,
            lost=_end_at_once,
        )
        self._ports: dict[SoupKey, Ports] = {}
        self._told: dict[SoupKey, Plan] = {}
        self._is_primed = threading.Event()
        self.stop = threading.Event()
        """Set: end in good order."""

    def run(self) -> None:
        """Work until told to stop."""
        self._wait_until(self._prepare)
        if not self.stop.is_set():
            while not self._streams.is_ready and not self.stop.is_set():
                self._streams.look_after()
                self.stop.wait(LOOK_AFTER_S)
            self._is_primed.set()
            self._election.start()
            log.info("standing by", identity=self._identity)
        while not self.stop.wait(LOOK_AFTER_S):
            self._streams.look_after()
        self._noting.stop()
        self._engine.stop(LAST_ROUNDS_S)
        self._keeping.stop()
        self._election.stop()
        self._streams.stop()
        self._asking.close()

    @contextmanager
    def answering(self, port: int) -> Iterator[str]:
        """Answer probes and Prometheus while the context lasts."""
        with serve_operator(
            self.meters, is_live=self._is_well, is_ready=self._is_primed.is_set, port=port
        ) as url:
            yield url

    def ports_of(self, key: SoupKey) -> Ports:
        """What a round of a soup needs."""
        if key not in self._ports:
            self._ports[key] = cluster_ports(
                self._client,
                self._cache,
                key,
                self._settings,
                self._announce,
                self._asking,
                self._happenings,
                utc_now,
            )
        return self._ports[key]

    def _is_well(self) -> bool:
        return self._engine.is_well(STUCK_S)

    def _elected(self) -> None:
        log.info("leading", identity=self._identity)
        self.meters.set_leader(True)
        self._keeping.start()
        self._noting.start()
        self._engine.start()  # Each namespace is looked at as soon as it is ours.

    def _prepare(self) -> None:
        require_crds(self._client)

    def _is_used(self, namespace: str) -> bool:
        return any(self._cache.list(resource, namespace) for resource in (SOUPS, DATA_SHARDS))

    def _push_all(self, namespace: str) -> None:
        for resource in (SOUPS, DATA_SHARDS):
            for thing in self._cache.list(resource, namespace):
                if key := key_of(resource, thing):
                    self._queue.push(key, Priority.RESYNC)

    def _wait_until(self, do: Callable[[], None]) -> None:
        said = ""
        while not self.stop.is_set():
            try:
                do()
            except StockpotError as error:
                if error.message != said:
                    log.error(error.message, help=error.help)
                said = error.message
                self.stop.wait(RETRY_S)
            else:
                return

    def _finished(self, key: SoupKey, one: Round, duration_s: float) -> None:
        if one.plan.actions and one.plan != self._told.get(key):
            # What is asked for again takes its time: once is enough to know it.
            log.info(
                "a round",
                soup=f"{key.namespace}/{key.name}",
                actions=[type(action).__name__ for action in one.plan.actions],
                duration_ms=round(duration_s * 1000),
            )
        self._told[key] = one.plan
        seen = self.ports_of(key).objects.read(fresh=False)
        if seen.soup is None:
            self.meters.observe_round(key, None, duration_s)
            return
        running = _in_training(seen.shards)
        facts = soup_facts(seen.soup, seen.shards, seen.revisions, in_training=running)
        self.meters.observe_round(key, facts, duration_s)
        self.meters.observe_progress(key, running)


def _in_training(shards: tuple[DataShard, ...]) -> dict[str, float]:
    """How far each training is that is under way, 0 to 1."""
    return {
        shard.metadata.name: (shard.status.training.progress_percent or 0) / 100
        for shard in shards
        if shard.status.training
        and shard.status.training.completed_at is None
        and shard.status.training.run_name
    }


def _end_at_once(why: str) -> None:
    log.error("this operator leads no longer, and ends", why=why)
    os._exit(ExitCode.INTERRUPTED)
