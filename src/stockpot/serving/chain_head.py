"""A cache of the head of the soup's chain of receipts, as this server's store has it.

A background thread reads the store, never the thread of a request: a store that hangs must not make
the server look dead. So the cached head may be some seconds old.
"""

import math
import threading
import time
from collections.abc import Callable

import structlog

from stockpot.api.chain import ChainHead
from stockpot.errors import StockpotError

log = structlog.get_logger()

REFRESH_AFTER_S = 10.0
"""A head older than this is read again when it is next needed."""
FRESH_S = 1.0
"""A head this young counts as current, which limits how often the store is read."""


class ChainHeadCache:
    """Reads the head in the background and keeps the last one. Safe to use from any thread."""

    def __init__(
        self, read: Callable[[], ChainHead], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._now_s = read, now_s
        self._changed = threading.Condition()
        self._head: ChainHead | None = None
        self._seen_s = self._tried_s = -math.inf
        """When the last successful read began, and the last attempt."""
        self._is_reading = False

    def last_head(self) -> ChainHead | None:
        """Return the cached head without waiting; None before the first read has ended."""
        with self._changed:
            if self._now_s() - self._tried_s > REFRESH_AFTER_S:
                self._begin_read()
            return self._head

    def age_s(self) -> float:
        """Seconds since the read of the cached head began; 0 before the first."""
        with self._changed:
            return 0.0 if self._head is None else self._now_s() - self._seen_s

    def current_head(self, timeout_s: float) -> ChainHead | None:
        """Return the store's present head; None if it cannot be read in time.

        Args:
            timeout_s: How long to wait for each of two reads: the first may have begun too early.
        """
        with self._changed:
            since_s = self._now_s() - FRESH_S
            for _ in range(2):
                if self._seen_s >= since_s:
                    break
                self._begin_read()
                self._changed.wait_for(lambda: not self._is_reading, timeout_s)
            return self._head if self._seen_s >= since_s else None

    def _begin_read(self) -> None:
        if not self._is_reading:
            self._is_reading, self._tried_s = True, self._now_s()
            threading.Thread(target=self._read_head, daemon=True).start()

    def _read_head(self) -> None:
        head = None
        try:
            head = self._read()
        except StockpotError as error:
            log.warning("Could not read the chain of receipts", problem=str(error))
        finally:
            with self._changed:
                self._is_reading = False
                if head is not None:
                    self._head, self._seen_s = head, self._tried_s
                self._changed.notify_all()
