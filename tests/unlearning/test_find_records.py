"""Records that are to leave are looked up in the list of what a shard was trained on."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import CATS, KEYS, SOUP, a_filled_store, key_of

from stockpot.api.results import FindResult
from stockpot.api.runspec import FindRun, StoreRef
from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.store.keys import RECORD_LIST
from stockpot.store.record_list import ListedRecord, read_record_list, write_record_list
from stockpot.unlearning import find_records

FOLDER = KEYS.ingredient(CATS.uid, key_of(CATS.uid))
REX, TOM = digest_of_bytes(b"rex"), digest_of_bytes(b"tom")
LISTED = (
    ListedRecord("rex.png", REX, digest_of_bytes(b"rex, a dog")),
    ListedRecord("copy/rex again.png", REX, digest_of_bytes(b"rex, another caption")),
    ListedRecord("cats.tar/tom.png", TOM, digest_of_bytes(b"tom, a cat")),
    ListedRecord("müde\nkatze.png", digest_of_bytes(b"sleepy"), digest_of_bytes(b"sleepy, a cat")),
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return a_filled_store(tmp_path / "store", tmp_path / "work")


def put(store: FolderStore, tmp_path: Path, listed: Iterable[ListedRecord] = LISTED) -> None:
    path = write_record_list(tmp_path / "list", listed)
    store.put(FOLDER + RECORD_LIST, path.read_bytes())


def search(tmp_path: Path, *names: str) -> FindResult:
    spec = FindRun(
        name="find-1",
        store=StoreRef(url=(tmp_path / "store").as_uri()),
        soup=SOUP,
        shard=CATS,
        training_key=key_of(CATS.uid),
        names=names,
    )
    return find_records.run(spec, work=tmp_path, progress=Progress(), stop=threading.Event())


def test_the_list_is_read_as_it_was_written(store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path)

    assert tuple(read_record_list(store, FOLDER) or ()) == LISTED


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("rex.png", 2),
        ("./copy/rex again.png", 2),
        (REX, 2),
        (LISTED[0].record, 2),
        ("cats.tar/tom.png", 1),
        ("müde\nkatze.png", 1),
    ],
)
def test_a_name_covers_every_record_with_its_picture(
    store: FolderStore, tmp_path: Path, name: str, covered: int
) -> None:
    put(store, tmp_path)

    result = search(tmp_path, name)

    assert (result.records, result.covered, result.unknown) == (4, covered, ())


def test_names_of_no_record_are_counted_and_some_are_named(
    store: FolderStore, tmp_path: Path
) -> None:
    put(store, tmp_path)
    misspelt = ("Rex.png", "tom.png", digest_of_bytes(b"nobody"), "again.png", "x\ny.png")

    result = search(tmp_path, "rex.png", *misspelt)

    assert (result.covered, result.unknown_count) == (2, 5)
    assert len(result.unknown) == 3
    assert all("\n" not in name for name in result.unknown)


def test_an_ingredient_without_a_list_is_answered_with_none(
    store: FolderStore, tmp_path: Path
) -> None:
    assert search(tmp_path, "rex.png") == FindResult()


@pytest.mark.parametrize(
    "damage",
    [
        b"not json",
        b"{}",
        b"[]",
        b'{"fileName": 3, "picture": "sha256:0", "record": "x"}',
        b'{"fileName": "a.png", "picture": "sha256:zz", "record": "sha256:zz"}',
        b"",
    ],
)
def test_a_damaged_list_is_refused_with_its_line(
    store: FolderStore, tmp_path: Path, damage: bytes
) -> None:
    put(store, tmp_path, LISTED[:1])
    whole = store.get(FOLDER + RECORD_LIST) or b""
    store.put(FOLDER + RECORD_LIST, whole + damage + b"\n")

    with pytest.raises(Refused, match=r"records\.jsonl is refused: line 2 is not that") as error:
        search(tmp_path, "rex.png")

    assert error.value.exit_code == ExitCode.BAD_WEIGHTS
    assert error.value.help


def test_a_hundred_thousand_records_are_read_in_pieces(store: FolderStore, tmp_path: Path) -> None:
    many = (
        ListedRecord(f"{number}.png", digest(number), digest(-number - 1))
        for number in range(100_000)
    )
    put(store, tmp_path, many)

    result = search(tmp_path, "99999.png")

    assert (result.records, result.covered) == (100_000, 1)


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number % (1 << 256):064x}")
