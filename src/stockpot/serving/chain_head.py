"""The head of the soup's chain of receipts as this server sees it in its store.

Looked at beside everything else, and never while somebody waits for a picture: a store that hangs
must not make a server look dead. So what is said may be some seconds old.
"""

import math
import threading
import time
from collections.abc import Callable

import structlog

from stockpot.api.chain import ChainHead
from stockpot.errors import StockpotError

log = structlog.get_logger()

OLD_S = 10.0
"""After this it is looked at again, where somebody asks."""
AT_ONCE_S = 1.0
"""Whoever wants to know it as it is now asks the store no more often than this."""


class ChainHeadCache:
    """What was last seen of the chain. Safe to use from any thread."""

    def __init__(
        self, look: Callable[[], ChainHead], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._now_s = look, now_s
        self._changed = threading.Condition()
        self._head: ChainHead | None = None
        self._seen_s = self._tried_s = -math.inf
        """When the last look that saw it began, and the last one at all."""
        self._is_looking = False

    def seen(self) -> ChainHead | None:
        """What was seen last; none before the first look has ended. Waits for nothing."""
        with self._changed:
            if self._now_s() - self._tried_s > OLD_S:
                self._begin()
            return self._head

    def age_s(self) -> float:
        """How long ago the look began that saw it; 0 before the first."""
        with self._changed:
            return 0.0 if self._head is None else self._now_s() - self._seen_s

    def fresh(self, timeout_s: float) -> ChainHead | None:
        """What the store has now; none where it does not say so in time.

        Args:
            timeout_s: How long to wait for each of two looks: one may have begun too early.
        """
        with self._changed:
            since_s = self._now_s() - AT_ONCE_S
            for _ in range(2):
                if self._seen_s >= since_s:
                    break
                self._begin()
                self._changed.wait_for(lambda: not self._is_looking, timeout_s)
            return self._head if self._seen_s >= since_s else None

    def _begin(self) -> None:
        if not self._is_looking:
            self._is_looking, self._tried_s = True, self._now_s()
            threading.Thread(target=self._look_once, daemon=True).start()

    def _look_once(self) -> None:
        head = None
        try:
            head = self._look()
        except StockpotError as error:
            log.warning("Could not look at the chain of receipts", problem=str(error))
        finally:
            with self._changed:
                self._is_looking = False
                if head is not None:
                    self._head, self._seen_s = head, self._tried_s
                self._changed.notify_all()
