"""Records deletions of shards as soon as a watch reports them.

A reconcile of a large soup takes seconds, and others may be queued before it: the request to
forget is recorded before that. Only its time is written here; the reconcile does the rest, and
writes the time as well if this module did not.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import structlog

from stockpot.api.v1alpha1 import DataShard
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of
from stockpot.errors import StockpotError
from stockpot.kube.status_writer import StatusWriter, read
from stockpot.reconcile.objects.unlearning import needs_tombstone, tombstone

log = structlog.get_logger("stockpot.deletions")

THREADS = 4
"""Concurrent writes: a bound on the load of the API server."""
LONGEST_S = 2.0
"""How long reconciles wait at most for an API server that does not answer."""


class DeletionRecorder:
    """Writes the time of a deletion into the shard's status, on the leader. Thread-safe."""

    def __init__(
        self, writer: StatusWriter, may_work: Callable[[str], bool], now: Callable[[], datetime]
    ) -> None:
        """Prepare the recorder; `start` starts it.

        Args:
            writer: Writes the shards.
            may_work: Whether our release may work in a namespace now.
            now: The clock.
        """
        self._writer, self._may_work, self._now = writer, may_work, now
        self._threads: ThreadPoolExecutor | None = None
        self._changed = threading.Condition()
        self._waiting = 0

    def start(self) -> None:
        """Start to record, as the leader."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="deletions")

    def stop(self) -> None:
        """Stop recording."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def submit(self, thing: Json) -> None:
        """Queue a shard that is being deleted. Does not block."""
        if self._threads is None:
            return
        with self._changed:
            self._waiting += 1
        self._threads.submit(self._note, thing)

    def wait_until_recorded(self) -> None:
        """Wait for pending records, which need the processor that reconciles would use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, LONGEST_S)

    def _note(self, thing: Json) -> None:
        try:
            if needs_tombstone(read(DataShard, thing)) and self._may_work(namespace_of(thing)):
                self._writer.write(DataShard, thing, [tombstone(self._now())])
        except StockpotError as error:
            # The reconcile does it, and reports the problem.
            log.info("a deletion was not recorded at once", shard=name_of(thing), why=str(error))
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()
