"""Fetching folders from mounts and stores, and their digests."""

import os
from pathlib import Path

import pytest

from stockpot.api.runspec import Location, Place
from stockpot.core.digests import digest_of_bytes, digest_of_tree
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.folder import FolderStore
from stockpot.store.sources import fetch_folder, tree_digest


def a_folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_a_mounted_folder_is_used_in_place(tmp_path: Path) -> None:
    mounted = a_folder(tmp_path / "data", "a.png")
    store = FolderStore(tmp_path / "store")

    folder = fetch_folder(Location(place=Place.FOLDER, path=str(mounted)), store, tmp_path / "into")

    assert folder == mounted
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("path", ["data/food/", "data/food", "/data/food/"])
def test_a_prefix_of_the_store_is_downloaded(tmp_path: Path, path: str) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("data/food/metadata.jsonl", b"{}")
    store.put("data/food/pictures/a.png", b"png")
    store.put("data/foodie/b.png", b"another shard's")

    into = a_folder(tmp_path / "into", "left-over.png")
    folder = fetch_folder(Location(place=Place.STORE, path=path), store, into)

    assert folder == into
    contents = {p.relative_to(into).as_posix(): p.read_bytes() for p in into.rglob("*.*")}
    assert contents == {"metadata.jsonl": b"{}", "pictures/a.png": b"png"}


def test_a_key_that_cannot_be_a_file_is_refused_before_any_download(
    tmp_path: Path,
) -> None:
    store = FolderStore(tmp_path / "store")
    a_folder(tmp_path / "store/data/food", "a.png", "b\\c.png")

    with pytest.raises(Refused, match=r"b.+c\.png.* cannot be a key of the store") as refusal:
        fetch_folder(Location(place=Place.STORE, path="data/food"), store, tmp_path / "into")

    assert refusal.value.exit_code == ExitCode.BAD_DATA
    assert not (tmp_path / "into").exists()


def test_an_empty_location_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")

    with pytest.raises(Refused, match="nothing lies in the store under data/food/") as refusal:
        fetch_folder(Location(place=Place.STORE, path="data/food"), store, tmp_path / "into")
    assert refusal.value.exit_code == ExitCode.BAD_DATA
    assert "whether the upload has ended" in refusal.value.help

    gone = Location(place=Place.FOLDER, path=str(tmp_path / "gone"))
    with pytest.raises(Refused, match=r"there is no folder .*/gone") as refusal:
        fetch_folder(gone, store, tmp_path / "into", exit_code=ExitCode.BAD_BASE)
    assert refusal.value.exit_code == ExitCode.BAD_BASE
    assert "whether its volume is mounted" in refusal.value.help


def test_the_digest_of_a_folder_depends_only_on_paths_and_bytes(tmp_path: Path) -> None:
    first = a_folder(tmp_path / "first", "b/c.json", "a.txt", ".hidden")
    two = a_folder(tmp_path / "two", ".hidden", "a.txt", "b/c.json")
    (two / "empty").mkdir()
    os.utime(two / "a.txt", (0, 0))

    assert tree_digest(first) == tree_digest(two)
    assert tree_digest(first) == digest_of_tree(
        {name: digest_of_bytes(name.encode()) for name in ("a.txt", "b/c.json", ".hidden")}
    )


@pytest.mark.parametrize("change", ["rename", "edit", "add", "remove"])
def test_any_change_gives_a_folder_another_digest(tmp_path: Path, change: str) -> None:
    folder = a_folder(tmp_path / "first", "b/c.json", "a.txt")
    before = tree_digest(folder)

    match change:
        case "rename":
            (folder / "a.txt").rename(folder / "b" / "a.txt")
        case "edit":
            (folder / "a.txt").write_text("a.tXt")
        case "add":
            (folder / ".new").touch()
        case _:
            (folder / "b" / "c.json").unlink()

    assert tree_digest(folder) != before


def test_a_link_within_the_folder_counts_as_its_target(tmp_path: Path) -> None:
    linked = a_folder(tmp_path / "first", "blobs/a")
    (linked / "a.txt").symlink_to("blobs/a")
    plain = a_folder(tmp_path / "two", "blobs/a")
    (plain / "a.txt").write_text("blobs/a")

    assert tree_digest(linked) == tree_digest(plain)


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("out", "../secret", "is a link that leaves the folder"),
        ("absolute", "/etc/hostname", "is a link that leaves the folder"),
        ("broken", "nowhere", "is a link that leaves the folder"),
        ("around", "around", "is a link that leaves the folder"),
        ("folder", "sub", "is a link to a folder"),
        ("up", "..", "is a link that leaves the folder"),
    ],
)
def test_a_link_to_anything_but_a_file_of_the_folder_is_refused(
    tmp_path: Path, name: str, target: str, why: str
) -> None:
    (tmp_path / "secret").write_text("x")
    folder = a_folder(tmp_path / "first", "sub/a.txt")
    (folder / name).symlink_to(target)

    with pytest.raises(Refused) as refusal:
        tree_digest(folder)

    assert refusal.value.message == f"{folder / name} {why}"
    assert f"cp -rL {folder} COPY" in refusal.value.help


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(Refused, match="pipe is no plain file"):
        tree_digest(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.json")).touch()

    with pytest.raises(Refused, match=r"caf\\udce9.json has a name that is no UTF-8"):
        tree_digest(tmp_path)


class Vanishing(FolderStore):
    """A store that another process empties while it is read."""

    def get_file(self, key: str, path: Path) -> None:
        self.delete(key)
        super().get_file(key, path)


def test_a_folder_removed_while_it_is_read_is_a_transient_error(tmp_path: Path) -> None:
    store = Vanishing(tmp_path / "store")
    store.put("data/a.png", b"")

    with pytest.raises(Transient, match=r"data/a\.png was removed from the store") as problem:
        fetch_folder(Location(place=Place.STORE, path="data"), store, tmp_path / "into")

    assert "run it again" in problem.value.help


def test_a_location_outside_the_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be a key of the store"):
        fetch_folder(
            Location(place=Place.STORE, path="../other/"), FolderStore(tmp_path), tmp_path / "into"
        )
