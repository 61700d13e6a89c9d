"""Deletions are written down as soon as the watch brings word of them.

A round of a large soup takes seconds, and others may be before it: what somebody asked to be
forgotten is on record before that. Only the time is written here; all else is for the rounds, which
write it as well where this did not.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import structlog

from stockpot.api.v1alpha1 import FINALIZER, DataShard
from stockpot.cluster.apiserver.objects import Json, name_of, namespace_of
from stockpot.errors import StockpotError
from stockpot.kube.status_writer import StatusWriter, read
from stockpot.reconcile.objects.shard import is_forced
from stockpot.reconcile.objects.unlearning import tombstone

log = structlog.get_logger("stockpot.noting")

AT_ONCE = 4
"""The API server serves others, too."""
LONGEST_S = 2.0
"""An API server that does not answer does not hold up the rounds for longer."""


def is_to_note(shard: DataShard) -> bool:
    """Whether nobody has written down yet that it was deleted.

    One that goes by force is written down in its Soup, by a round; one without our finalizer is
    not ours.
    """
    meta, told = shard.metadata, shard.status.unlearning
    held = FINALIZER in meta.finalizers
    return bool(meta.deletion_timestamp) and held and told is None and not is_forced(shard)


class DeletionRecorder:
    """Writes tombstones' first line, for the leader. For many threads."""

    def __init__(
        self, writer: StatusWriter, may_work: Callable[[str], bool], now: Callable[[], datetime]
    ) -> None:
        """Write nothing yet.

        Args:
            writer: Who writes.
            may_work: Whether a namespace is ours to work in at this moment.
            now: The clock.
        """
        self._writer, self._may_work, self._now = writer, may_work, now
        self._threads: ThreadPoolExecutor | None = None
        self._changed = threading.Condition()
        self._waiting = 0

    def start(self) -> None:
        """Begin: we lead."""
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="noting")

    def stop(self) -> None:
        """Write no more."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def hear(self, thing: Json) -> None:
        """Take in what a watch says of a shard that is being deleted. Does not wait."""
        if self._threads is None:
            return
        with self._changed:
            self._waiting += 1
        self._threads.submit(self._note, thing)

    def let_pass(self) -> None:
        """Wait for what is being written down: rounds compute, and this needs the processor."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, LONGEST_S)

    def _note(self, thing: Json) -> None:
        try:
            if is_to_note(read(DataShard, thing)) and self._may_work(namespace_of(thing)):
                self._writer.write(DataShard, thing, [tombstone(self._now())])
        except StockpotError as error:
            # The round does it, and says what is the matter.
            log.info(
                "a deletion was not written down at once", shard=name_of(thing), why=str(error)
            )
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()
