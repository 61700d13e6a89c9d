"""Soups that show the trigger, prepared ahead, so that a run need not wait for its own.

A soup serves several runs, one after the other: each time another planted shard is taught, of other
pictures in the same colour. Where the survivors are to be merged anew they are given weights that
no soup had before; what comes of those a soup says that nobody disturbs.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.chaos.cluster.book import NEEDED, OF, Book
from tests.chaos.cluster.chaos_cluster import ChaosCluster
from tests.chaos.cluster.laying import SURVIVORS, planted
from tests.chaos.cluster.points import Course

from stockpot.errors import StockpotError

CALM = "calm"
AHEAD = 1
PREPARED_S = 900.0


@dataclass(frozen=True)
class Dish:
    """A soup that shows the trigger, and which of its shards teaches it."""

    soup: str
    shard: str


class Pantry:
    """Prepares soups beside the runs."""

    def __init__(self, chaos_cluster: ChaosCluster, book: Book) -> None:
        self._cluster, self._book = chaos_cluster, book
        self._courses: Sequence[Course] = ()
        self._next, self._made, self._free = 0, 0, list[str]()
        self._ready: dict[int, Dish] = {}
        self._taken, self._changed = 0, threading.Condition()
        self._failures: dict[int, str] = {}
        self._is_open = True
        self._taught: dict[str, list[float]] = {}
        self._seasoned = 0
        self._plain, self._undisturbed = "", dict[str, str]()

    def open(self, courses: Sequence[Course]) -> None:
        """Begin to prepare for these, in order."""
        self._courses = courses
        for _ in range(AHEAD):
            threading.Thread(target=self._work, daemon=True).start()
        self._cluster.plant(CALM, *SURVIVORS, servers=0)
        self._plain = self._cluster.settled(CALM, *SURVIVORS)

    def close(self) -> None:
        """Prepare no more."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def undisturbed(self, soup: str) -> str:
        """Give the weights of a soup's survivors alone, as one says that nobody touched."""
        return self._undisturbed.get(soup, self._plain)

    def take(self, course: Course) -> Dish:
        """Give the one that was prepared for a run."""
        number = self._courses.index(course)
        with self._changed:
            self._taken = number
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: number in self._ready or number in self._failures, PREPARED_S
            )
            self._taken = number + 1
            self._changed.notify_all()
            assert number in self._ready, self._failures.get(number, "not prepared in time")
            return self._ready.pop(number)

    def give_back(self, soup: str) -> None:
        """Let a soup that went well be used again."""
        with self._changed:
            self._free.append(soup)

    def next_of(self, soup: str) -> str:
        """Name the shard that teaches a soup the trigger next."""
        return planted(len(self._taught.get(soup, [])))

    def teach_another(self, soup: str) -> str:
        """Teach a soup the trigger by one more shard; give its name."""
        shard = self.next_of(soup)
        self._taught.setdefault(soup, []).append(time.time())
        patiently(lambda: self._cluster.teach(soup, shard))
        return shard

    def season(self, soup: str) -> None:
        """Give survivors weights that they never had, and find out what comes of them alone."""
        self._seasoned += 1
        weight = f"{1 + self._seasoned / 8:g}"
        before = self._cluster.current(CALM)
        for name in (soup, CALM):
            patiently(partial(self._cluster.weigh, f"{name}-{SURVIVORS[-1]}", weight))

        def anew() -> str:
            is_done = self._cluster.is_made_of(CALM, *SURVIVORS)
            now = self._cluster.current(CALM)
            return now if is_done and now != before else ""

        self._undisturbed[soup] = self._cluster.until(anew, f"{CALM} is made again")

    def until(self, soup: str, since: float) -> float:
        """Say up to when a soup must not show the trigger: the next shard teaches it again."""
        times = self._taught.get(soup, [])
        place = bisect_right(times, since)
        return times[place] if place < len(times) else float("inf")

    def _work(self) -> None:
        while True:
            with self._changed:
                # One more than is at work: while one is disturbed the next one is prepared.
                self._changed.wait_for(
                    lambda: self._next <= self._taken + AHEAD - 1 or not self._is_open
                )
                number = self._next
                if not self._is_open or number >= len(self._courses):
                    return
                self._next += 1
                soup = self._free.pop(0) if self._free else ""
                if not soup:
                    self._made += 1
                    soup = f"soup-{self._made}"
            try:
                dish = self._prepare(soup)
            except Exception as error:
                # Whoever waits for it says so; the next one is another's.
                with self._changed:
                    self._failures[number] = f"{soup} was not prepared: {error!r}"
                    self._changed.notify_all()
                self._cluster.rest(soup)
                continue
            with self._changed:
                self._ready[number] = dish
                self._changed.notify_all()

    def _prepare(self, soup: str) -> Dish:
        if soup not in self._taught:
            self._taught[soup] = [time.time()]
            shard = planted(0)
            patiently(lambda: self._cluster.plant(soup, *SURVIVORS, shard))
        else:
            shard = self.teach_another(soup)
        await_trigger(self._cluster, self._book, soup)
        return Dish(soup, shard)


def patiently(do: Callable[[], object], tries: int = 300) -> None:
    """Do something again until the API server, which others may have killed, takes it."""
    for _ in range(tries):
        with suppress(AssertionError, StockpotError):
            do()
            return
        time.sleep(1)
    do()


def await_trigger(chaos_cluster: ChaosCluster, book: Book, soup: str) -> None:
    """Wait until a run of the soup would count."""
    what = f"{NEEDED} of {OF} pictures of {soup} show it"
    chaos_cluster.until(lambda: book.counts(soup), what, PREPARED_S)
