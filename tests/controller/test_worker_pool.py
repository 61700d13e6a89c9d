"""When a round reads past the cache."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from stockpot.controller.queue import Priority, Queue
from stockpot.controller.requeue import RESYNC_S
from stockpot.controller.worker_pool import WorkerPool
from stockpot.reconcile.ports import ObservedObjects, Ports, SoupKey

KEY = SoupKey("studio", "emoji")
SOON_S = 10.0


class Objects:
    """A namespace without any soup, and how it was read."""

    def __init__(self) -> None:
        self.reads: list[bool] = []
        self.was_read = threading.Event()

    def read(self, *, fresh: bool) -> ObservedObjects:
        self.reads.append(fresh)
        self.was_read.set()
        return ObservedObjects(None)

    def flush(self) -> None:
        """Write nothing."""


def first_read_is_fresh(listed_s: Callable[[str], float]) -> bool:
    """Let one worker do one round; return how it read."""
    objects, queue = Objects(), Queue()
    nothing: Any = None
    now = lambda: datetime(2026, 11, 22, tzinfo=UTC)  # noqa: E731
    ports = Ports(cast(Any, objects), nothing, nothing, nothing, now)
    workers = WorkerPool(
        queue,
        lambda _: ports,
        workers=1,
        may_work=lambda _: True,
        before_round=lambda: None,
        listed_s=listed_s,
        now=now,
        on_finished=lambda *_: None,
        on_failed=lambda *_: None,
    )
    queue.push(KEY, Priority.SPEC)
    workers.start()
    assert objects.was_read.wait(SOON_S)
    workers.stop(SOON_S)
    return objects.reads[0]


def test_what_was_just_listed_is_not_listed_again() -> None:
    assert not first_read_is_fresh(lambda _: time.monotonic())


@pytest.mark.parametrize("ago_s", [RESYNC_S, float("inf")])
def test_a_standby_that_listed_long_ago_reads_past_its_cache(ago_s: float) -> None:
    assert first_read_is_fresh(lambda _: time.monotonic() - ago_s)
