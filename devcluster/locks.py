"""One at a time: a lock that ends with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from devcluster.progress_log import say


@contextmanager
def only_one(lock: Path, what: str, *, last: bool = False) -> Iterator[None]:
    """Hold the lock, after whoever holds it now.

    Args:
        lock: A file, made where there is none.
        what: What is done under it, for whoever waits.
        last: Remove the file at the end: what it stands for is done with.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"  ... waiting for another {what} to end")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(file, lock):
                continue  # its holder has removed it meanwhile: the name stands for another file
            try:
                yield
            finally:
                if last:
                    lock.unlink(missing_ok=True)
            return


def _is(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
