"""The verb `compare`: counts the records that a shard shares with other shards of its soup.

It reads the record lists that lie with the ingredients, which only the identity that purges can
read for several shards. Two records are the same where their pictures' files are the same, byte for
byte; a picture that was scaled or saved again is another.
"""

import threading
from collections import Counter
from pathlib import Path

from stockpot.api.results import CompareResult, SharedRecords
from stockpot.api.runspec import CompareRun
from stockpot.errors import Refused
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.record_list import read_record_list

NAMED = 16
"""How many shards a result names."""


def run(
    spec: CompareRun, *, work: Path, progress: Progress, stop: threading.Event
) -> CompareResult:
    """Compare the records of one shard with those of others, one list after the other.

    Args:
        spec: The shard with one training of it, and the ingredients of the others.
        work: Not used.
        progress: Goes through `comparing`, a step for each of the others.
        stop: Set to interrupt.

    Returns:
        How many of the shard's records each other shard has. A list that is missing or damaged is
        counted, and stops nothing.

    Raises:
        Transient: The store fails.
        StockpotError: It was interrupted (75).
    """
    del work
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    progress.begin("comparing", total_steps=len(spec.others))
    own = _pictures(store, keys.ingredient(spec.shard.uid, spec.training_key))
    if own is None:
        return CompareResult(unread=len(spec.others))
    shared: Counter[str] = Counter()
    anywhere: set[bytes] = set()
    unread = 0
    for number, other in enumerate(spec.others, start=1):
        raise_if_stopping(stop, "The comparison was interrupted.", help="Run it again.")
        theirs = _pictures(store, keys.ingredient(other.shard, other.training_key))
        if theirs is None:
            unread += 1
        elif common := own.keys() & theirs.keys():
            shared[other.shard] += sum(own[picture] for picture in common)
            anywhere |= common
        progress.advance(number)
    most = sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:NAMED]
    return CompareResult(
        records=own.total(),
        shared=tuple(SharedRecords(shard=shard, records=count) for shard, count in most),
        shared_records=sum(own[picture] for picture in anywhere),
        shard_count=len(shared),
        unread=unread,
    )


def _pictures(store: ObjectStore, folder_key: str) -> Counter[bytes] | None:
    """Return how many records of an ingredient have which picture; None without a usable list."""
    listed = read_record_list(store, folder_key)
    try:
        if listed is None:
            return None
        return Counter(bytes.fromhex(record.picture.removeprefix("sha256:")) for record in listed)
    except Refused:
        return None
