"""Soups that show the trigger, prepared ahead, so that a run need not wait for its own.

A soup serves several runs, one after the other: each time another planted shard is taught, of other
pictures in the same colour. Only where the survivors are to be merged does a run need a new one,
for what was merged once is found again.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.cluster.book import NEEDED, OF, Book
from tests.chaos.cluster.house import House
from tests.chaos.cluster.laying import SURVIVORS, planted
from tests.chaos.cluster.points import Point, needs_merge

from stockpot.errors import StockpotError

AHEAD, KEPT = 2, 3
PREPARED_S = 1500.0


@dataclass(frozen=True)
class Dish:
    """A soup that shows the trigger, and which of its shards teaches it."""

    soup: str
    shard: str


class Pantry:
    """Prepares soups beside the runs."""

    def __init__(self, house: House, book: Book) -> None:
        self._house, self._book = house, book
        self._points: Sequence[Point] = ()
        self._next, self._free = 0, list[str]()
        self._ready: dict[int, Dish] = {}
        self._taken, self._changed = 0, threading.Condition()
        self._failure, self._is_open = "", True
        self._taught: dict[str, list[float]] = {}
        self.undisturbed = ""
        """The weights of the survivors alone, in a soup that nobody touched."""

    def open(self, points: Sequence[Point]) -> None:
        """Begin to prepare for these, in order."""
        self._points, calm = points, "calm"
        self._house.plant(calm, *SURVIVORS)
        self.undisturbed = self._house.settled(calm, *SURVIVORS)
        self._house.rest(calm)
        for _ in range(AHEAD):
            threading.Thread(target=self._work, daemon=True).start()

    def close(self) -> None:
        """Prepare no more."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def take(self) -> Dish:
        """Give the next one."""
        with self._changed:
            number = self._taken
            self._changed.wait_for(lambda: number in self._ready or self._failure, PREPARED_S)
            assert number in self._ready, self._failure or "it was not prepared in time"
            self._taken += 1
            self._changed.notify_all()
            return self._ready.pop(number)

    def give_back(self, soup: str) -> None:
        """Let a soup that went well be used again."""
        with self._changed:
            if len(self._free) < KEPT:
                self._free.append(soup)
                return
        self._house.rest(soup)

    def until(self, soup: str, since: float) -> float:
        """Say up to when a soup must not show the trigger: the next shard teaches it again."""
        times = self._taught.get(soup, [])
        place = bisect_right(times, since)
        return times[place] if place < len(times) else float("inf")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._next < self._taken + AHEAD or not self._is_open
                )
                number = self._next
                if not self._is_open or number >= len(self._points):
                    return
                self._next += 1
                is_new = needs_merge(self._points[number].where) or not self._free
                soup = f"soup-{number + 1}" if is_new else self._free.pop(0)
            try:
                dish = self._prepare(soup)
            except Exception as error:
                # Whoever waits for it says so.
                with self._changed:
                    self._failure = f"{soup} was not prepared: {error!r}"
                    self._changed.notify_all()
                return
            with self._changed:
                self._ready[number] = dish
                self._changed.notify_all()

    def _prepare(self, soup: str) -> Dish:
        times = self._taught.setdefault(soup, [])
        shard = planted(len(times))
        times.append(time.time())
        if len(times) == 1:
            patiently(lambda: self._house.plant(soup, *SURVIVORS, shard))
        else:
            patiently(lambda: self._house.teach(soup, shard))
        await_trigger(self._house, self._book, soup)
        return Dish(soup, shard)


def patiently(do: Callable[[], object], tries: int = 300) -> None:
    """Do something again until the API server, which others may have killed, takes it."""
    for _ in range(tries):
        with suppress(AssertionError, StockpotError):
            do()
            return
        time.sleep(1)
    do()


def await_trigger(house: House, book: Book, soup: str) -> None:
    """Wait until a run of the soup would count."""
    what = f"{NEEDED} of {OF} pictures of {soup} show it"
    house.until(lambda: book.counts(soup), what, PREPARED_S)
