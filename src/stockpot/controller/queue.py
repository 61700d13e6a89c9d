"""Which soup is next: keys with a priority, each once, each worked on by one worker at a time.

An event says only that something happened to a soup; what, the round sees for itself.
"""

import heapq
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from stockpot.reconcile.ports import SoupKey


class Priority(IntEnum):
    """Why a soup is looked at; less goes first."""

    DELETE = 0
    SPEC = 1
    CHILD = 2
    RESYNC = 3


class Queue:
    """Keys that wait, at once or from a time on."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, SoupKey]] = []
        self._waiting: dict[SoupKey, tuple[float, int]] = {}
        self._working: set[SoupKey] = set()
        self._closed = False

    def push(self, key: SoupKey, priority: Priority, delay_s: float = 0.0) -> None:
        """Ask for a round of the soup; the sooner and the more urgent word counts."""
        due_s = self._clock_s() + delay_s if delay_s > 0 else 0.0
        with self._changed:
            before = self._waiting.get(key)
            wanted = (due_s, int(priority))
            if before is not None:
                # Each by itself: what is urgent stays so though a later word is in less of a hurry.
                wanted = (min(before[0], due_s), min(before[1], int(priority)))
                if wanted == before:
                    return
            self._waiting[key] = wanted
            heapq.heappush(self._heap, (*wanted, key))
            self._changed.notify()

    def take(self) -> SoupKey | None:
        """Wait for the next soup that nobody works on; None once the queue is closed."""
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
        """Say that the round is over: what was asked for meanwhile may begin."""
        with self._changed:
            self._working.discard(key)
            self._changed.notify()

    def close(self) -> None:
        """Let every worker go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            now_s = self._clock_s()
            return sum(1 for due_s, _ in self._waiting.values() if due_s <= now_s)

    def _next(self) -> tuple[SoupKey | None, float | None]:
        """Find the most urgent key that is due; else how long until one is."""
        now_s, later_s = self._clock_s(), None
        held: list[tuple[float, int, SoupKey]] = []
        best: tuple[int, float, SoupKey] | None = None
        while self._heap:
            due_s, priority, key = heapq.heappop(self._heap)
            if self._waiting.get(key) != (due_s, priority):
                continue  # It was asked for anew under other terms, or is taken.
            held.append((due_s, priority, key))
            if due_s > now_s:
                later_s = due_s - now_s
                break  # All others are due later still.
            if key not in self._working and (best is None or (priority, due_s, key) < best):
                best = (priority, due_s, key)
        for one in held:
            heapq.heappush(self._heap, one)
        return (best[2] if best else None), later_s
