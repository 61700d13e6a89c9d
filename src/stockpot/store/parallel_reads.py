"""Reads many objects, several at a time: over a network most of a read is waiting."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stockpot.store.port import CONNECTIONS

Answer = TypeVar("Answer")


def read_each(keys: Iterable[str], read: Callable[[str], Answer]) -> dict[str, Answer]:
    """Ask the store about each of some keys or folders, and return the answers in their order.

    Raises:
        Exception: What the first of the reads that fail raises.
    """
    in_order = sorted(keys)
    if len(in_order) < 2:
        return {key: read(key) for key in in_order}
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="reads") as threads:
        return dict(zip(in_order, threads.map(read, in_order), strict=True))
