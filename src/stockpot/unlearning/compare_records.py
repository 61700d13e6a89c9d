"""The verb `compare`: counts a shard's records that others have, or that were unlearned before.

It reads the record lists that lie with the ingredients, which only the identity that purges can
read for several shards, and the keyed digests that purges kept. Two records are the same where
their pictures' files are the same, byte for byte. A picture that was scaled or saved again is
another, and is counted apart from those, as one that looks like it.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.results import CompareResult, SharedRecords
from stockpot.api.runspec import CompareRun
from stockpot.core.digests import Digest
from stockpot.metrics.progress import Progress
from stockpot.process.interruption import raise_if_stopping
from stockpot.store.keys import RECORD_LIST, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.record_list import readable_records
from stockpot.unlearning.purged_records import listed_pictures
from stockpot.unlearning.removal import folder_of
from stockpot.unlearning.similar_records import likenesses_of, similar_pictures
from stockpot.unlearning.unlearned_records import read_unlearned, returning_pictures

NAMED, NAMED_SIMILAR = 16, 8
"""How many shards and unlearnings a result names, and how many shards with similar pictures."""


def run(
    spec: CompareRun, *, work: Path, progress: Progress, stop: threading.Event
) -> CompareResult:
    """Compare the records of one shard with those of others, one list after the other.

    Args:
        spec: The shard with one training of it, the ingredients of the others, and those that are
            being unlearned.
        work: Not used.
        progress: Goes through `comparing`, a step for each of the others.
        stop: Set to interrupt.

    Returns:
        How many of the shard's records each other shard has, and how many were unlearned before. A
        list that is missing or damaged is counted, and stops nothing.

    Raises:
        Transient: The store fails.
        StockpotError: It was interrupted (75).
    """
    del work
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    progress.begin("comparing", total_steps=len(spec.others))
    mine = _read(store, keys.ingredient(spec.shard.uid, spec.training_key))
    if mine is None:
        return CompareResult(unread=len(spec.others))
    own = mine.pictures
    shared: Counter[str] = Counter()
    similar: Counter[str] = Counter()
    anywhere: set[Digest] = set()
    unread = 0
    for number, other in enumerate(spec.others, start=1):
        raise_if_stopping(stop, "The comparison was interrupted.", help="Run it again.")
        theirs = _read(store, keys.ingredient(other.shard, other.training_key))
        if theirs is None:
            unread += 1
        else:
            if common := own.keys() & theirs.pictures.keys():
                shared[other.shard] += sum(own[picture] for picture in common)
                anywhere |= common
            if alike := similar_pictures(mine.likenesses, theirs.likenesses):
                similar[other.shard] += sum(own[picture] for picture in alike)
        progress.advance(number)
    before, unread_lists = _returning(spec, store, keys, own)
    returning = Counter[str]()
    for picture, unlearned in before.items():
        returning[unlearned] += own[picture]
    return CompareResult(
        records=own.total(),
        shared=_most(shared, NAMED),
        shared_records=sum(own[picture] for picture in anywhere),
        shard_count=len(shared),
        unread=unread,
        similar=_most(similar, NAMED_SIMILAR),
        similar_count=len(similar),
        returning=_most(returning, NAMED),
        returning_records=returning.total(),
        returning_count=len(returning),
        unread_lists=unread_lists,
    )


def _returning(
    spec: CompareRun, store: ObjectStore, keys: Keys, own: Counter[Digest]
) -> tuple[Mapping[Digest, str], int]:
    """Find the pictures that were unlearned, and count the lists that cannot be read.

    What is being unlearned is read first: a purge writes its list of keyed digests before it
    removes the list of records, so that a picture is in one of them at any time.
    """
    leaving: dict[str, set[Digest]] = {}
    for each in spec.leaving:
        for info in store.list(keys.shard(each.shard)):
            if info.key.endswith(f"/{RECORD_LIST}"):
                pictures = listed_pictures(store, folder_of(info.key), each.names)
                leaving.setdefault(each.unlearned, set()).update(pictures or ())
    lists = read_unlearned(store, keys, spec.soup.uid)
    return returning_pictures(own, lists, leaving), lists.unread


def _most(counts: Counter[str], named: int) -> tuple[SharedRecords, ...]:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:named]
    return tuple(SharedRecords(shard=uid, records=count) for uid, count in most)


@dataclass(frozen=True)
class _RecordSet:
    """The records of an ingredient."""

    pictures: Counter[Digest]
    """Number of records with each picture."""
    likenesses: Mapping[Digest, str]
    """Perceptual hashes of the pictures that have one."""


def _read(store: ObjectStore, folder_key: str) -> _RecordSet | None:
    """Read the record list of an ingredient; None without one that can be read."""
    records = readable_records(store, folder_key)
    if records is None:
        return None
    return _RecordSet(Counter(record.picture for record in records), likenesses_of(records))
