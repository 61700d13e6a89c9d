"""Behaviour that only a folder store has: full and read-only disks, crashes, concurrent prunes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.folder import FolderStore
from stockpot.store.port import ObjectInfo

DISK_BYTES = 256 << 10

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may mount a small disk; a file size limit is tried too"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "stockpot-test", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@needs_mounts
def test_a_full_disk_keeps_old_objects_and_leaves_no_partial_one(disk: Path) -> None:
    store = FolderStore(disk / "store")
    store.put("ns/weights", b"before")
    big = bytes(2 * DISK_BYTES)
    (disk.parent / "big").write_bytes(big)
    writes: list[Callable[[], object]] = [
        lambda: store.put("ns/weights", big),
        lambda: store.put_if_absent("ns/new", big),
        lambda: store.put_file("ns/other", disk.parent / "big"),
    ]

    for write in writes:
        with pytest.raises(Transient, match=f"no space left to write {disk}") as problem:
            write()
        assert problem.value.exit_code == ExitCode.STORAGE
        assert "nothing was left under that name" in problem.value.message
        assert "free some space" in problem.value.help

    assert files_below(disk) == ["store/ns/weights"]
    assert store.get("ns/weights") == b"before"


@needs_mounts
def test_a_full_local_disk_is_reported_when_an_object_is_fetched(
    disk: Path, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("ns/big", bytes(2 * DISK_BYTES))

    with pytest.raises(Transient, match=f"no space left to write {disk}"):
        store.get_file("ns/big", disk / "fetched" / "big")

    assert files_below(disk) == []


@needs_mounts
def test_a_read_only_disk_is_named_and_can_still_be_read(disk: Path) -> None:
    store = FolderStore(disk)
    store.put("ns/weights", b"before")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    writes: list[Callable[[], object]] = [
        lambda: store.put("ns/weights", b"after"),
        lambda: store.put_if_absent("ns/new", b"x"),
        lambda: store.put("other/new", b"x"),
        lambda: store.delete("ns/weights"),
        lambda: store.purge(ObjectInfo("ns/weights", 6)),
    ]

    for write in writes:
        with pytest.raises(Transient, match="read-only file system") as problem:
            write()
        assert str(disk) in problem.value.message
        assert problem.value.exit_code == ExitCode.STORAGE
        assert "choose another folder" in problem.value.help

    assert store.get("ns/weights") == b"before"
    assert not store.put_if_absent("ns/weights", b"x")


def test_a_file_size_limit_leaves_no_partial_object(tmp_path: Path) -> None:
    limited = (
        "import pathlib, resource, signal, sys\n"
        "from stockpot.errors import Transient\n"
        "from stockpot.store.folder import FolderStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    FolderStore(pathlib.Path(sys.argv[1])).put('ns/weights', bytes(10000))\n"
        "except Transient as problem:\n"
        "    print(problem)\n"
        "    sys.exit(problem.exit_code)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", limited, str(tmp_path)], check=False, capture_output=True, text=True
    )

    assert ended.returncode == ExitCode.STORAGE, ended.stderr
    assert ended.stdout.startswith(f"no space left to write {tmp_path}/ns/weights (file too large)")
    assert files_below(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "ns").mkdir(mode=0o555)

    with pytest.raises(Transient, match="permission denied") as problem:
        FolderStore(tmp_path).put("ns/a", b"")

    assert f"ls -ld {tmp_path}/ns" in problem.value.help


def test_objects_are_readable_to_pods_of_other_users_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        FolderStore(tmp_path).put("a", b"")
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_an_exception_while_writing_keeps_the_old_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("ns/a", b"before")

    with pytest.raises(FileNotFoundError):
        store.put_file("ns/a", tmp_path / "no such file")

    assert files_below(store.root) == ["ns/a"]
    assert store.get("ns/a") == b"before"


def test_leftovers_of_a_killed_writer_are_listed_only_among_versions(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    killed = (
        "import os, pathlib, sys\n"
        "from stockpot.store.atomic import appearing\n"
        "with appearing(pathlib.Path(sys.argv[1], 'ns', 'a')) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    left = files_below(tmp_path)

    assert len(left) == 1
    assert left[0].startswith("ns/.a.")
    assert left[0].endswith(".unfinished")
    assert list(store.list("")) == []
    assert [(info.key, info.size_bytes) for info in store.list_versions("ns/a")] == [("ns/a", 4)]


def test_empty_folders_are_removed_with_their_last_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("ns/shards/a/key/weights", b"")
    store.put("ns/shards/b/key/weights", b"")

    store.delete("ns/shards/a/key/weights")
    assert sorted(p.name for p in (store.root / "ns" / "shards").iterdir()) == ["b"]
    store.delete("ns/shards/b/key/weights")

    assert list(store.root.iterdir()) == []


def test_writers_and_deleters_of_one_folder_do_not_harm_each_other(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def come_and_go(name: str) -> None:
        for number in range(25):
            key = f"ns/deep/{number % 2}/{name}"
            store.put(key, name.encode())
            assert store.get(key) == name.encode()
            assert store.put_if_absent(key + "-b", b"")
            store.delete(key)
            store.delete(key + "-b")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, "abcd"))

    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_an_object_but_a_purge_removes_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not in the store")
    store = FolderStore(tmp_path / "store")
    store.put("ns/a", b"")
    (store.root / "ns" / "link").symlink_to(secret)
    (store.root / "ns" / "folder").symlink_to(tmp_path)

    assert store.get("ns/link") is None
    assert store.head("ns/link") is None
    calls: list[Callable[[], object]] = [
        lambda: store.get("ns/folder/secret"),
        lambda: store.put("ns/folder/x", b""),
    ]
    for call in calls:
        with pytest.raises(Refused, match="a symbolic link stands on the way to it"):
            call()
    assert [info.key for info in store.list("")] == ["ns/a"]
    assert list(store.list("ns/folder/")) == list(store.list_versions("ns/folder/")) == []
    for info in list(store.list_versions("")):
        store.purge(info)

    assert list(store.list_versions("")) == []
    assert secret.read_bytes() == b"not in the store"


@pytest.mark.parametrize("key", ["ns/a/b", "ns"])
def test_an_object_where_a_folder_is_needed_is_named(tmp_path: Path, key: str) -> None:
    store = FolderStore(tmp_path)
    store.put("ns/a", b"x")

    with pytest.raises(Refused, match="there is a file where a folder is needed") as refusal:
        store.put(key, b"")

    assert refusal.value.exit_code == ExitCode.STORAGE
    assert "move what lies there" in refusal.value.help
    assert files_below(tmp_path) == ["ns/a"]


def test_a_root_that_does_not_exist_is_an_empty_store_until_the_first_write(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "later")

    assert list(store.list("")) == []
    assert store.get("ns/a") is None
    assert not (tmp_path / "later").exists()


def test_a_folder_has_no_version_of_another_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("ns/a", b"")

    with pytest.raises(ValueError, match="no version of ns/a"):
        store.purge(ObjectInfo("ns/a", 0, version="../../outside"))
