"""The records of a shard are compared with those of others, by the lists that lie in the store."""

import resource
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import CATS, KEYS, SOUP, key_of

from stockpot.api.manifest import LineagePair
from stockpot.api.results import CompareResult
from stockpot.api.runspec import CompareRun, StoreRef
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import StockpotError
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.store.keys import RECORD_LIST
from stockpot.store.record_list import ListedRecord, write_record_list
from stockpot.unlearning import compare_records


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def listed(pictures: Iterable[str]) -> list[ListedRecord]:
    return [
        ListedRecord(
            f"{number}.png",
            digest_of_bytes(name.encode()),
            digest_of_bytes(b"any"),
            digest_of_bytes(name.encode()).removeprefix("sha256:")[:32],
        )
        for number, name in enumerate(pictures)
    ]


def put(store: FolderStore, work: Path, uid: str, pictures: Iterable[str]) -> None:
    path = write_record_list(work / "list", listed(pictures))
    store.put(KEYS.ingredient(uid, key_of(uid)) + RECORD_LIST, path.read_bytes())


def compare(tmp_path: Path, *others: str, stop: threading.Event | None = None) -> CompareResult:
    spec = CompareRun(
        name="compare-1",
        store=StoreRef(url=(tmp_path / "store").as_uri()),
        soup=SOUP,
        shard=CATS,
        training_key=key_of(CATS.uid),
        others=tuple(LineagePair(shard=uid, training_key=key_of(uid)) for uid in others),
    )
    stop = stop or threading.Event()
    return compare_records.run(spec, work=tmp_path, progress=Progress(), stop=stop)


def test_records_are_counted_by_shard_and_once_in_all(store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path, CATS.uid, ["a", "a", "b", "c"])
    put(store, tmp_path, "dogs", ["a", "x"])
    put(store, tmp_path, "eels", ["c", "b", "a", "y"])
    put(store, tmp_path, "owls", ["z"])

    result = compare(tmp_path, "dogs", "eels", "owls")

    assert [(each.shard, each.records) for each in result.shared] == [("eels", 4), ("dogs", 2)]
    assert (result.records, result.shared_records, result.shard_count) == (4, 4, 2)
    assert result.unread == 0


def test_pictures_that_look_alike_are_counted_apart(store: FolderStore, tmp_path: Path) -> None:
    likeness = "0f" * 16
    for uid, name in ((CATS.uid, "mine"), ("dogs", "scaled")):
        record = ListedRecord(
            "1.png", digest_of_bytes(name.encode()), digest_of_bytes(b"any"), likeness
        )
        path = write_record_list(tmp_path / "list", [record])
        store.put(KEYS.ingredient(uid, key_of(uid)) + RECORD_LIST, path.read_bytes())

    result = compare(tmp_path, "dogs")

    assert [(each.shard, each.records) for each in result.similar] == [("dogs", 1)]
    assert (result.shared, result.shared_records, result.similar_count) == ((), 0, 1)


def test_lists_that_are_missing_or_damaged_are_counted(store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path, CATS.uid, ["a"])
    store.put(KEYS.ingredient("dogs", key_of("dogs")) + RECORD_LIST, b"no list\n")

    result = compare(tmp_path, "dogs", "eels")

    assert (result.unread, result.shard_count) == (2, 0)


def test_without_a_list_of_its_own_it_says_so(store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path, "dogs", ["a"])

    assert compare(tmp_path, "dogs") == CompareResult(unread=1)


def test_the_largest_of_many_overlaps_are_named_and_all_are_counted(
    store: FolderStore, tmp_path: Path
) -> None:
    others = [f"shard-{number:02}" for number in range(40)]
    put(store, tmp_path, CATS.uid, [str(number) for number in range(40)])
    for number, uid in enumerate(others):
        put(store, tmp_path, uid, [str(each) for each in range(number + 1)])

    result = compare(tmp_path, *others)

    assert len(result.shared) == 16
    assert (result.shared[0].shard, result.shared[0].records) == ("shard-39", 40)
    assert (result.shard_count, result.shared_records) == (40, 40)
    assert len(result.message().model_dump_json(by_alias=True)) < 4096


def test_it_ends_when_it_is_asked_to(store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path, CATS.uid, ["a"])
    put(store, tmp_path, "dogs", ["a"])
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError, match="interrupted"):
        compare(tmp_path, "dogs", stop=stop)


@pytest.mark.benchmark
def test_a_hundred_thousand_records_in_a_hundred_shards(store: FolderStore, tmp_path: Path) -> None:
    others = [f"shard-{number:02}" for number in range(100)]
    put(store, tmp_path, CATS.uid, [f"0-{each}" for each in range(1000)])
    for number, uid in enumerate(others):
        put(store, tmp_path, uid, [f"{number}-{each}" for each in range(1000)])
    before_s, cpu_before_s = time.monotonic(), time.process_time()

    result = compare(tmp_path, *others)

    took_s, cpu_s = time.monotonic() - before_s, time.process_time() - cpu_before_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(  # noqa: T201
        f"1,000 records against 100 shards of 1,000: {took_s:.2f} s, {cpu_s:.2f} CPU-s, "
        f"the process held at most {peak_mb:.0f} MB"
    )
    assert result.shared_records == 1000
