"""A store that counts its requests, and how many of them there are at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stockpot.store.folder import FolderStore
from stockpot.store.port import ObjectInfo


class CountingStore(FolderStore):
    """A store whose requests take a while, as over a network, and are counted."""

    def __init__(self, root: Path, takes_s: float) -> None:
        super().__init__(root)
        self._takes_s, self.requests = takes_s, 0
        self._lock, self._now, self.most_at_once = threading.Lock(), 0, 0

    def get(self, key: str) -> bytes | None:
        with self._waiting():
            return super().get(key)

    def head(self, key: str) -> ObjectInfo | None:
        with self._waiting():
            return super().head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._waiting():
            return super().list(prefix)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        with self._lock:
            self.requests += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._takes_s)
        yield
        with self._lock:
            self._now -= 1
