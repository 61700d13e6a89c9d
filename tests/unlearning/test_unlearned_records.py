"""What is kept of unlearned records: keyed digests, which tell that a picture comes back."""

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.store.counting_store import CountingStore
from tests.unlearning.receipt_fixtures import (
    CATS,
    DOGS,
    KEYS,
    SOUP,
    a_filled_store,
    a_purge,
    a_signing,
    key_of,
)

from stockpot.api.results import CompareResult, PurgeResult
from stockpot.api.runspec import (
    CompareRun,
    FormerRecords,
    LeavingRecords,
    ObjectRef,
    PurgeRun,
    StoreRef,
)
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.store.keys import RECORD_LIST
from stockpot.store.port import CONNECTIONS, AccessDenied
from stockpot.store.record_list import ListedRecord, write_record_list
from stockpot.unlearning import compare_records, purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.keys import keygen, load_public_key
from stockpot.unlearning.unlearned_records import (
    count_unlearned,
    keep_unlearned,
    read_unlearned,
    returning_pictures,
)

AT = "2026-11-22T12:00:00Z"
RECORDS = former_of(Ingredient(ShardUID(DOGS.uid), key_of(DOGS.uid)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FolderStore:
    """A store where dogs has four records of three pictures."""
    store = a_filled_store(root, tmp_path / "work")
    put(store, tmp_path, DOGS.uid, {"rex": "a", "copy": "a", "bo": "b", "kim": "c"})
    return store


def picture(name: str) -> Digest:
    return digest_of_bytes(name.encode())


def put(store: FolderStore, work: Path, uid: str, pictures: dict[str, str]) -> None:
    listed = [
        ListedRecord(f"{name}.png", picture(data), digest_of_bytes(name.encode()))
        for name, data in pictures.items()
    ]
    path = write_record_list(work / "list", listed)
    store.put(KEYS.ingredient(uid, key_of(uid)) + RECORD_LIST, path.read_bytes())


def purged(root: Path, **fields: Any) -> PurgeResult:
    spec: PurgeRun = a_purge(root).model_copy(update=fields)
    result = purge.run(spec, work=root.parent, progress=Progress(), stop=threading.Event())
    assert isinstance(result, PurgeResult)
    return result


def without(*names: str) -> dict[str, Any]:
    former = FormerRecords(
        shard=DOGS.uid,
        training_key=key_of(DOGS.uid),
        records=names,
        requests=(digest_of_bytes(b"request"),),
        left_out=1,
    )
    return {"shard": ObjectRef(namespace="ml", name="dogs", uid=RECORDS), "former": former}


def compare(root: Path, *leaving: LeavingRecords) -> CompareResult:
    spec = CompareRun(
        name="compare-1",
        store=StoreRef(url=root.as_uri()),
        soup=SOUP,
        shard=CATS,
        training_key=key_of(CATS.uid),
        leaving=leaving,
    )
    return compare_records.run(spec, work=root, progress=Progress(), stop=threading.Event())


def returning(result: CompareResult) -> list[tuple[str, int]]:
    return [(each.shard, each.records) for each in result.returning]


def test_a_purge_keeps_one_digest_a_picture_and_no_picture_or_name(
    store: FolderStore, root: Path
) -> None:
    result = purged(root)

    kept = store.get(KEYS.unlearned_list(SOUP.uid, DOGS.uid))
    assert kept is not None
    assert result.kept_digests == 3
    assert count_unlearned(store, KEYS, SOUP.uid, DOGS.uid) == 3
    assert not any(info.key.endswith(RECORD_LIST) for info in store.list(KEYS.shard(DOGS.uid)))
    for secret in (b"rex", picture("a").removeprefix("sha256:")[:32].encode()):
        assert secret not in kept


def test_a_record_that_comes_back_in_another_shard_is_recognised(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    purged(root)
    put(store, tmp_path, CATS.uid, {"1": "a", "2": "a", "3": "c", "4": "new"})

    result = compare(root)

    assert returning(result) == [(DOGS.uid, 3)]
    assert (result.records, result.returning_records, result.returning_count) == (4, 3, 1)
    assert result.unread_lists == 0


def test_of_records_that_left_a_living_shard_only_those_are_kept_with_their_copies(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    result = purged(root, **without("rex.png"))
    put(store, tmp_path, CATS.uid, {"1": "a", "2": "b"})

    assert result.kept_digests == 1
    assert returning(compare(root)) == [(RECORDS, 1)]


def test_a_picture_that_was_unlearned_twice_counts_for_the_last_time(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    purged(root, **without("rex.png"))
    put(store, tmp_path, DOGS.uid, {"rex": "a", "bo": "b"})
    purged(root)
    put(store, tmp_path, CATS.uid, {"1": "a", "2": "b"})

    assert returning(compare(root)) == [(DOGS.uid, 2)]


def test_what_is_being_unlearned_counts_before_and_after_its_list_is_kept(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    put(store, tmp_path, CATS.uid, {"1": "a", "2": "b"})
    all_of_it = LeavingRecords(unlearned=DOGS.uid, shard=DOGS.uid)
    a_record = LeavingRecords(unlearned=RECORDS, shard=DOGS.uid, names=("rex.png",))

    assert returning(compare(root, all_of_it)) == [(DOGS.uid, 2)]
    assert returning(compare(root, a_record)) == [(RECORDS, 1)]
    purged(root)
    assert returning(compare(root, all_of_it)) == [(DOGS.uid, 2)]


def test_a_purge_that_runs_again_keeps_the_same_list(store: FolderStore, root: Path) -> None:
    purged(root)
    before = store.get(KEYS.unlearned_list(SOUP.uid, DOGS.uid))

    again = purged(root)

    assert again.kept_digests == 3
    assert store.get(KEYS.unlearned_list(SOUP.uid, DOGS.uid)) == before


def test_a_late_training_adds_its_records(store: FolderStore, root: Path, tmp_path: Path) -> None:
    purged(root)
    put(store, tmp_path, DOGS.uid, {"zoe": "z"})

    assert purged(root).kept_digests == 4


def test_without_a_record_list_nothing_is_kept(root: Path, tmp_path: Path) -> None:
    store = a_filled_store(root, tmp_path / "work")

    assert purged(root).kept_digests is None
    assert not list(store.list(KEYS.unlearned(SOUP.uid)))


def test_a_list_that_lies_about_its_records_stops_no_purge(store: FolderStore, root: Path) -> None:
    store.put(KEYS.ingredient(DOGS.uid, key_of(DOGS.uid)) + RECORD_LIST, b'{"picture": "me"}\n')

    result = purged(root)

    assert (result.kept_digests, result.residual_count) == (None, 0)


@pytest.mark.parametrize(
    "damage", ["rotated", "gone", "damaged", "cut", "of another version", "empty"]
)
def test_lists_that_cannot_be_read_are_counted(
    damage: str, store: FolderStore, root: Path, tmp_path: Path
) -> None:
    purged(root)
    put(store, tmp_path, CATS.uid, {"1": "a"})
    key, place = KEYS.unlearned_key(SOUP.uid), KEYS.unlearned_list(SOUP.uid, DOGS.uid)
    kept = store.get(place) or b""
    match damage:
        case "rotated":
            store.put(key, b"ab" * 32)
        case "gone":
            store.delete(key)
        case "damaged":
            store.put(key, b"no key")
        case "cut":
            store.put(place, kept[:-33])
        case "of another version":
            store.put(place, kept.replace(b'"version":1', b'"version":2'))
        case _:
            store.put(place, b"")

    result = compare(root)

    assert (result.returning_count, result.unread_lists) == (0, 1)


def test_after_its_key_was_lost_a_soup_gets_another_and_goes_on(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    purged(root)
    store.delete(KEYS.unlearned_key(SOUP.uid))
    put(store, tmp_path, "uid-bees", {"1": "bee"})

    assert purged(root, shard=ObjectRef(namespace="ml", name="bees", uid="uid-bees")).kept_digests
    put(store, tmp_path, CATS.uid, {"1": "a", "2": "bee"})

    result = compare(root)
    assert returning(result) == [("uid-bees", 1)]
    assert result.unread_lists == 1


def test_a_store_that_refuses_the_list_stops_no_purge(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_if_absent = FolderStore.put_if_absent

    def refuse(self: FolderStore, key: str, data: bytes) -> bool:
        if "/unlearned/" in key:
            raise AccessDenied(f"{key} may not be written", help="allow it")
        return put_if_absent(self, key, data)

    monkeypatch.setattr(FolderStore, "put_if_absent", refuse)

    result = purged(root)

    assert (result.kept_digests, result.residual_count) == (None, 0)


def test_a_store_that_does_not_show_the_list_stops_no_receipt(
    store: FolderStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged(root)
    public = keygen(key := tmp_path / "key.pem")
    get = FolderStore.get

    def refuse(self: FolderStore, key: str) -> bytes | None:
        if "/unlearned/" in key:
            raise AccessDenied(f"{key} may not be read", help="allow it")
        return get(self, key)

    monkeypatch.setattr(FolderStore, "get", refuse)

    sign.run(a_signing(root, key), work=tmp_path, progress=Progress(), stop=threading.Event())

    [receipt] = check_chain(store, KEYS, SOUP.uid, load_public_key(public))
    assert receipt.statement.predicate.completeness == "Complete"
    assert receipt.statement.predicate.kept_digests is None


def test_a_receipt_says_how_many_digests_are_kept(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    purged(root)
    public = keygen(key := tmp_path / "key.pem")

    result = sign.run(
        a_signing(root, key), work=tmp_path, progress=Progress(), stop=threading.Event()
    )

    [receipt] = check_chain(store, KEYS, SOUP.uid, load_public_key(public))
    assert receipt.statement.predicate.kept_digests == 3
    assert result.receipts[0].kept_digests == 3


def test_each_soup_has_a_key_of_its_own(store: FolderStore, root: Path) -> None:
    purged(root)
    purged(root, soup=SOUP.model_copy(update={"uid": "soup-2"}))

    keys = {store.get(KEYS.unlearned_key(uid)) for uid in ("soup-1", "soup-2")}
    assert len(keys - {None}) == 1, "the other soup has nothing left to keep"
    assert read_unlearned(store, KEYS, "soup-2").lists == ()


def test_lists_are_read_eight_at_a_time(tmp_path: Path) -> None:
    pictures = [digest_of_bytes(f"picture {number}".encode()) for number in range(100)]
    for number, picture in enumerate(pictures):
        target = f"uid-{number:04d}"
        keep_unlearned(FolderStore(tmp_path), KEYS, SOUP.uid, target, [picture], at=AT)
    store = CountingStore(tmp_path, 0.01)

    lists = read_unlearned(store, KEYS, SOUP.uid)

    assert returning_pictures(pictures, lists, {}).keys() == set(pictures)
    assert (len(lists.lists), lists.unread) == (100, 0)
    # The key, and a listing.
    assert store.requests == 102
    assert store.most_at_once == CONNECTIONS
