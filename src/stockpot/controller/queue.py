"""The work queue: keys of soups with a priority, each queued once and processed by one worker.

A key says only that a soup may have changed; the reconcile reads what.
"""

import heapq
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from stockpot.reconcile.ports import SoupKey


class Priority(IntEnum):
    """Why a soup is reconciled; lower values go first."""

    DELETE = 0
    SPEC = 1
    CHILD = 2
    RESYNC = 3


class Queue:
    """A priority queue of keys, with optional delays. Thread-safe."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, SoupKey]] = []
        self._waiting: dict[SoupKey, tuple[float, int]] = {}
        self._working: set[SoupKey] = set()
        self._closed = False

    def push(self, key: SoupKey, priority: Priority, delay_s: float = 0.0) -> None:
        """Queue a soup; of several requests the earliest time and the highest priority count."""
        due_s = self._clock_s() + delay_s if delay_s > 0 else 0.0
        with self._changed:
            before = self._waiting.get(key)
            wanted = (due_s, int(priority))
            if before is not None:
                # Each by itself: a later request never lowers the priority of an earlier one.
                wanted = (min(before[0], due_s), min(before[1], int(priority)))
                if wanted == before:
                    return
            self._waiting[key] = wanted
            heapq.heappush(self._heap, (*wanted, key))
            self._changed.notify()

    def take(self) -> SoupKey | None:
        """Wait for the next soup that no worker has; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                key, wait_s = self._next()
                if key is not None:
                    del self._waiting[key]
                    self._working.add(key)
                    return key
                self._changed.wait(wait_s)
        return None

    def done(self, key: SoupKey) -> None:
        """Mark a soup as processed: requests that came meanwhile may be taken now."""
        with self._changed:
            self._working.discard(key)
            self._changed.notify()

    def close(self) -> None:
        """Close the queue, and wake every waiting worker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            now_s = self._clock_s()
            return sum(1 for due_s, _ in self._waiting.values() if due_s <= now_s)

    def _next(self) -> tuple[SoupKey | None, float | None]:
        """Return the most urgent key that is due, or the seconds until a key is due."""
        now_s, later_s = self._clock_s(), None
        held: list[tuple[float, int, SoupKey]] = []
        best: tuple[int, float, SoupKey] | None = None
        while self._heap:
            due_s, priority, key = heapq.heappop(self._heap)
            if self._waiting.get(key) != (due_s, priority):
                continue  # It was queued again with other terms, or is taken.
            held.append((due_s, priority, key))
            if due_s > now_s:
                later_s = due_s - now_s
                break  # All others are due later still.
            if key not in self._working and (best is None or (priority, due_s, key) < best):
                best = (priority, due_s, key)
        for entry in held:
            heapq.heappush(self._heap, entry)
        return (best[2] if best else None), later_s
