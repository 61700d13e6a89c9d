"""The contract of every object store; a folder and a real S3 server pass it."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockpot.errors import Refused
from stockpot.store.folder import FolderStore
from stockpot.store.port import ObjectInfo, ObjectStore
from stockpot.store.s3 import PART_BYTES, S3Store

ODD_NAMES = ("plain", "with space", "+%20&?#=", "ä/ö", "a.b-c_d", ".hidden/x", "x" * 200)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_object_is_read_as_written_under_any_name(store: ObjectStore, name: str) -> None:
    store.put(f"ns/{name}", b"soup")

    assert store.get(f"ns/{name}") == b"soup"
    assert store.head(f"ns/{name}") == ObjectInfo(f"ns/{name}", 4)
    assert list(store.list("ns/")) == [ObjectInfo(f"ns/{name}", 4)]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("ns/empty", b"")

    assert store.get("ns/empty") == b""
    assert store.head("ns/empty") == ObjectInfo("ns/empty", 0)
    assert store.get_range("ns/empty", 0, 10) == b""


def test_missing_objects_are_reported_as_missing(store: ObjectStore, tmp_path: Path) -> None:
    store.put("ns/a/b", b"x")

    for key in ("ns/none", "ns/a", "ns/a/b/c"):
        assert store.head(key) is None
        assert store.get(key) is None
        with pytest.raises(KeyError):
            store.get_range(key, 0, 1)
        with pytest.raises(KeyError):
            store.get_range(key, 0, 0)
        with pytest.raises(KeyError):
            store.get_file(key, tmp_path / "new" / "file")
        store.delete(key)
    assert not (tmp_path / "new" / "file").exists()
    assert store.get("ns/a/b") == b"x"


def test_a_second_write_replaces_the_first(store: ObjectStore) -> None:
    store.put("ns/a", b"first")
    store.put("ns/a", b"2nd")

    assert store.get("ns/a") == b"2nd"
    assert store.head("ns/a") == ObjectInfo("ns/a", 3)
    assert list(store.list("")) == [ObjectInfo("ns/a", 3)]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 10, b"0123456789"), (3, 4, b"3456"), (8, 100, b"89"), (10, 5, b""), (99, 5, b""),
     (4, 0, b""), (0, 0, b"")],
)  # fmt: skip
def test_a_range_ends_where_the_object_ends(
    store: ObjectStore, offset: int, length: int, expected: bytes
) -> None:
    store.put("ns/digits", b"0123456789")

    assert store.get_range("ns/digits", offset, length) == expected


def test_put_if_absent_writes_only_once(store: ObjectStore) -> None:
    assert store.put_if_absent("ns/one", b"first")
    assert not store.put_if_absent("ns/one", b"second")

    assert store.get("ns/one") == b"first"


def test_a_deleted_object_may_be_written_again(store: ObjectStore) -> None:
    store.put("ns/one", b"old")
    store.delete("ns/one")

    assert store.put_if_absent("ns/one", b"new")
    assert store.get("ns/one") == b"new"


def test_put_if_absent_has_one_winner_among_concurrent_writers(store: ObjectStore) -> None:
    writers = [str(number).encode() for number in range(8)]

    with ThreadPoolExecutor(len(writers)) as pool:
        ours = list(pool.map(lambda data: store.put_if_absent("ns/one", data), writers))

    assert sum(ours) == 1
    assert store.get("ns/one") == writers[ours.index(True)]


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES + 1])
def test_a_file_is_written_and_read_back(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    there, back = tmp_path / "there", tmp_path / "folder" / "back"
    there.write_bytes(b"0123456789abcdef" * (size_bytes // 16) + b"x" * (size_bytes % 16))

    store.put_file("ns/big", there)
    store.get_file("ns/big", back)

    assert back.read_bytes() == there.read_bytes()
    assert back.stat().st_mode & 0o777 == 0o644
    assert list(back.parent.iterdir()) == [back]
    assert store.head("ns/big") == ObjectInfo("ns/big", size_bytes)


KEYS = ("a-b", "a.txt", "a/b-x", "a/b.txt", "a/b/c", "a/b/c.d/e", "a/b0", "b/a", "ä/ö")


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "a/b/c.d", "ä", "none/", "z"])
def test_a_listing_is_sorted_and_holds_only_the_prefix(store: ObjectStore, prefix: str) -> None:
    for key in reversed(KEYS):
        store.put(key, key.encode())

    listed = list(store.list(prefix))

    assert listed == [ObjectInfo(k, len(k.encode())) for k in KEYS if k.startswith(prefix)]
    assert sorted({info.key for info in store.list_versions(prefix)}) == [
        info.key for info in listed
    ]


def test_a_deletion_removes_only_its_object(store: ObjectStore) -> None:
    store.put("ns/a/b/c", b"1")
    store.put("ns/a/d", b"2")

    store.delete("ns/a/b/c")
    store.delete("ns/a/b/c")

    assert store.get("ns/a/b/c") is None
    assert list(store.list("")) == [ObjectInfo("ns/a/d", 1)]


def test_a_purge_leaves_no_version_and_no_delete_marker(store: ObjectStore) -> None:
    for data in (b"one", b"two", b"three"):
        store.put("ns/shard/weights", data)
    store.put("ns/shard/gone", b"x")
    store.delete("ns/shard/gone")
    store.put("ns/shard-b/weights", b"mine")
    leave_unfinished(store, "ns/shard/later")

    for info in list(store.list_versions("ns/shard/")):
        store.purge(info)

    assert list(store.list_versions("ns/shard/")) == []
    assert [info.key for info in store.list_versions("")] == ["ns/shard-b/weights"]
    assert store.get("ns/shard-b/weights") == b"mine"


def test_an_unfinished_write_is_listed_only_among_versions(store: ObjectStore) -> None:
    leave_unfinished(store, "ns/shard/weights")

    listed = list(store.list_versions("ns/shard/weights"))

    assert [info.key for info in listed] == ["ns/shard/weights"]
    assert listed[0].version
    assert list(store.list("")) == []
    assert store.head("ns/shard/weights") is None


def test_purging_an_unfinished_write_keeps_the_finished_one(store: ObjectStore) -> None:
    store.put("ns/weights", b"whole")
    leave_unfinished(store, "ns/weights")
    before = {info for info in store.list_versions("") if info.size_bytes == len(b"whole")}

    for info in set(store.list_versions("")) - before:
        store.purge(info)
        store.purge(info)  # A second purge, as after a crash, has no effect.

    assert set(store.list_versions("")) == before
    assert store.get("ns/weights") == b"whole"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty part"),
        ("/etc/passwd", "empty part"),
        ("ns//a", "empty part"),
        ("ns/a/", "empty part"),
        ("../a", ".. stands in it"),
        ("ns/../../a", ".. stands in it"),
        ("ns/./a", ". stands in it"),
        ("ns/a\nb", "control character"),
        ("ns/a\0b", "control character"),
        ("ns\\a", "backslash"),
        ("ns/\ud800", "no UTF-8"),
        ("ns/" + "x" * 201, "longer than 200 bytes"),
        ("/".join(["x" * 100] * 11), "longer than 1024 bytes"),
        ("ns/.a.0123456789abcdef.unfinished", "unfinished writes"),
    ],
)
def test_a_key_that_not_every_store_can_hold_is_refused(
    store: ObjectStore, tmp_path: Path, key: str, why: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.delete(key),
        lambda: store.get_file(key, tmp_path / "file"),
    ]
    for call in calls:
        with pytest.raises(Refused, match="cannot be a key of the store") as refusal:
            call()
        assert why in refusal.value.message
        assert "single slashes" in refusal.value.help


@pytest.mark.parametrize("prefix", ["../", "/", "ns/../x", "ns//"])
def test_a_prefix_cannot_leave_the_store(store: ObjectStore, prefix: str) -> None:
    for listing in (store.list, store.list_versions):
        with pytest.raises(Refused, match="cannot be a key of the store"):
            list(listing(prefix))


def leave_unfinished(store: ObjectStore, key: str) -> None:
    """Leave an unfinished write, as a killed process does."""
    if isinstance(store, FolderStore):
        killed = (
            "import os, pathlib, sys\n"
            "from stockpot.store.atomic import appearing\n"
            "with appearing(pathlib.Path(sys.argv[1])) as file:\n"
            "    file.write(b'half')\n"
            "    file.flush()\n"
            "    os._exit(9)\n"
        )
        command = [sys.executable, "-c", killed, str(store.root / key)]
        assert subprocess.run(command, check=False).returncode == 9
        return
    assert isinstance(store, S3Store)
    name = store._name(key)
    upload = store._client._create_multipart_upload(store.bucket, name, {})
    store._client._upload_part(store.bucket, name, b"half", None, upload, 1)
