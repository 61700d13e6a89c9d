"""Workers that reconcile soups from the work queue, and requeue them.

No error of a reconcile ends a worker: it is counted and retried with a backoff, and reported in
the soup's status if it concerns the soup.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from stockpot.controller.queue import Priority, Queue
from stockpot.controller.requeue import NAMESPACE_POLL_S, RESYNC_S, SOONEST, requeue_after_s
from stockpot.core.plan import Plan
from stockpot.errors import StockpotError
from stockpot.kube.error_conditions import conditions_of_error
from stockpot.reconcile.loop import Round, reconcile
from stockpot.reconcile.objects.soup import with_trouble
from stockpot.reconcile.ports import Ports, SoupKey

log = structlog.get_logger("stockpot.workers")

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
"""After a failed reconcile, doubled each time."""

Finished = Callable[[SoupKey, Round, float], None]
Failed = Callable[[SoupKey, BaseException, float], None]


@dataclass
class _Memory:
    """State of a soup between reconciles, which only paces them."""

    last_plan: Plan = field(default_factory=Plan)
    failures: int = 0
    resynced_s: float = float("-inf")


class WorkerPool:
    """Threads that reconcile the soups."""

    def __init__(
        self,
        queue: Queue,
        ports_of: Callable[[SoupKey], Ports],
        *,
        workers: int,
        may_work: Callable[[SoupKey], bool],
        before_round: Callable[[], None],
        listed_s: Callable[[str], float],
        now: Callable[[], datetime],
        on_finished: Finished,
        on_failed: Failed,
    ) -> None:
        """Prepare the workers; `start` starts them.

        Args:
            queue: The work queue.
            ports_of: Returns the ports with which a soup is reconciled.
            workers: Number of soups that are reconciled concurrently.
            may_work: Whether our release may reconcile a soup now.
            before_round: Called before each reconcile: waits for more urgent work.
            listed_s: When a namespace was listed last, by the monotonic clock.
            now: The clock.
            on_finished: Called after each reconcile that succeeded.
            on_failed: Called after each reconcile that raised.
        """
        self._queue, self._ports_of, self._may_work, self._now = queue, ports_of, may_work, now
        self._on_finished, self._on_failed = on_finished, on_failed
        self._before_round, self._listed_s = before_round, listed_s
        self._memories: dict[SoupKey, _Memory] = {}
        self._beats: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            self._beats[thread.name] = float("inf")
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the workers after their present reconcile, or after the timeout."""
        self._queue.close()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - time.monotonic()))

    def is_well(self, patience_s: float) -> bool:
        """Whether every worker is alive, and in no reconcile for longer than `patience_s`."""
        if any(thread.ident is not None and not thread.is_alive() for thread in self._threads):
            return False
        now_s = time.monotonic()
        return all(now_s - began_s < patience_s for began_s in self._beats.values())

    def _work(self) -> None:
        name = threading.current_thread().name
        while (key := self._queue.take()) is not None:
            self._beats[name] = time.monotonic()
            try:
                self._before_round()
                self._round(key)
            finally:
                self._beats[name] = float("inf")
                self._queue.done(key)

    def _round(self, key: SoupKey) -> None:
        if not self._may_work(key):
            self._queue.push(key, Priority.RESYNC, NAMESPACE_POLL_S)
            return
        memory = self._memories.setdefault(key, _Memory())
        began_s = time.monotonic()
        ports = self._ports_of(key)
        # Where all was listed a moment ago, at the start, nothing is newer past the cache.
        fresh_s = max(memory.resynced_s, self._listed_s(key.namespace))
        is_resync = began_s - fresh_s >= RESYNC_S * SOONEST
        try:
            finished = reconcile(ports, fresh=is_resync)
        except Exception as error:
            self._handle_error(key, memory, ports, error, time.monotonic() - began_s)
            return
        memory.failures = 0
        if is_resync:
            memory.resynced_s = began_s
        self._on_finished(key, finished, time.monotonic() - began_s)
        delay_s = requeue_after_s(finished, memory.last_plan, self._now())
        memory.last_plan = finished.plan
        if finished.observed.soup is None and not finished.observed.shards:
            self._memories.pop(key, None)
            return
        self._queue.push(key, Priority.RESYNC if delay_s else Priority.CHILD, delay_s)

    def _handle_error(
        self,
        key: SoupKey,
        memory: _Memory,
        ports: Ports,
        error: Exception,
        duration_s: float,
    ) -> None:
        memory.failures += 1
        backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(memory.failures - 1, 10))
        self._on_failed(key, error, duration_s)
        log.warning(
            "the round failed",
            soup=f"{key.namespace}/{key.name}",
            error=str(error) or type(error).__name__,
            retry_in_s=backoff_s,
            exc_info=not isinstance(error, StockpotError),
        )
        updates = conditions_of_error(error)
        if updates and memory.failures > 1:
            try:
                ports.objects.read(fresh=False)
                ports.objects.change_soup(with_trouble(updates, self._now()))
                ports.objects.flush()
            except StockpotError as second:
                log.warning("the error could not be written to the status", error=second.message)
        self._queue.push(key, Priority.CHILD, backoff_s)
