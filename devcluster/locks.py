"""One at a time: a lock that ends with its process."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster.steps import say


@contextmanager
def only_one(lock: Path, what: str) -> Iterator[None]:
    """Hold the lock, after whoever holds it now."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  ... waiting for another {what} to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
