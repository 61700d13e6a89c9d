"""What a command may write to, and what is there afterwards: the rules of `store.outputs`.

Invariant 15.
"""

import errno
import fcntl
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.store import outputs
from stockpot.store.atomic import MOST_TRIES, quoted, write_whole
from stockpot.store.outputs import appended_file, output_file, output_path, write_output

OLD, NEW = b"old", b"new bytes"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root")


def no_tmpfile(folder: int, mode: int) -> None:
    """Stand in for a file system that has no files without a name, as NFS."""
    del folder, mode


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "hidden":
        monkeypatch.setattr(outputs, "_unnamed_file", no_tmpfile)
    return str(request.param)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def refusal(path: Path) -> StockpotError:
    with pytest.raises(StockpotError) as caught:
        write_output(path, NEW)
    assert caught.value.help
    return caught.value


def a_link(path: Path) -> None:
    path.with_name("target").write_bytes(OLD)
    path.symlink_to("target")


def a_hard_link(path: Path) -> None:
    path.with_name("target").write_bytes(OLD)
    path.hardlink_to(path.with_name("target"))


def a_socket(path: Path) -> None:
    with working_in(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def a_device(kind: int) -> Callable[[Path], None]:
    return lambda path: os.mknod(path, 0o666 | kind, os.makedev(1, 3))


def a_link_to_a_device(path: Path) -> None:
    a_device(stat.S_IFCHR)(path.with_name("device"))
    path.symlink_to("device")


STANDING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (a_link, "is a symbolic link"),
    "a dangling link": (lambda path: path.symlink_to("absent"), "is a symbolic link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "a link to a folder": (lambda path: path.symlink_to("."), "is a symbolic link"),
    "a hard link": (a_hard_link, "is one of 2 names of a file"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a pipe": (os.mkfifo, "is a pipe"),
    "a socket": (a_socket, "is a socket"),
}
DEVICES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a character device": (a_device(stat.S_IFCHR), "is a device"),
    "a block device": (a_device(stat.S_IFBLK), "is a device"),
    "a link to a device": (a_link_to_a_device, "is a symbolic link"),
}


@pytest.mark.parametrize(
    "name", [*STANDING, *(pytest.param(one, marks=as_root) for one in DEVICES)]
)
def test_what_is_no_file_of_one_name_stays_as_it_is(name: str, tmp_path: Path) -> None:
    make, said = {**STANDING, **DEVICES}[name]
    path = tmp_path / "soup"
    make(path)
    before, beside = path.lstat(), names(tmp_path)

    error = refusal(path)

    assert error.exit_code == ExitCode.USAGE
    assert f"{path} {said}" in error.message
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert names(tmp_path) == beside
    if (tmp_path / "target").exists():
        assert (tmp_path / "target").read_bytes() == OLD


@pytest.mark.parametrize("text", ["", ".", "..", "dir/", "dir/.", "dir/..", "/"])
def test_a_name_of_a_folder_is_none_of_a_file(text: str) -> None:
    with pytest.raises(Refused) as caught:
        output_path(text)

    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_leaves(
    mask: int, mode: int, tmp_path: Path
) -> None:
    with umask(mask):
        write_output(tmp_path / "soup", NEW)

    assert (mode_of(tmp_path / "soup"), names(tmp_path)) == (oct(mode), ["soup"])


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o444, 0o4755])
def test_a_file_that_is_replaced_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)
    path.chmod(mode)
    if not os.access(path, os.W_OK):
        assert refusal(path).exit_code == ExitCode.STORAGE
        return

    with umask(0o022):
        write_output(path, NEW)

    assert (path.read_bytes(), mode_of(path)) == (NEW, oct(mode & 0o777))
    assert names(tmp_path) == ["soup"]


@as_root
def test_a_file_that_is_replaced_keeps_owner_group_acl_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    # As `setfacl -m u:1000:r` writes it.
    entries = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + rights.to_bytes(2, "little")
        + (who % 2**32).to_bytes(4, "little")
        for tag, rights, who in entries
    )
    attributes = {"user.origin": b"here", "system.posix_acl_access": acl}
    try:
        for name, value in attributes.items():
            os.setxattr(path, name, value)
    except OSError:
        pytest.skip("this file system keeps no attributes")

    write_output(path, NEW)

    found = path.stat()
    assert (path.read_bytes(), found.st_uid, found.st_gid) == (NEW, 1234, 4321)
    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == attributes


@as_root
def test_who_may_not_write_a_file_or_keep_its_owner_replaces_nothing(open_folder: Path) -> None:
    locked, others, closed = (open_folder / name for name in ("locked", "others", "closed"))
    for path in (locked, others):
        path.write_bytes(OLD)
    locked.chmod(0o444)
    os.chown(locked, NOBODY, NOBODY)
    others.chmod(0o666)
    closed.mkdir(mode=0o755)

    with as_nobody():
        errors = [refusal(path) for path in (locked, others, closed / "soup")]

    assert [error.exit_code for error in errors] == [ExitCode.STORAGE] * 3
    assert "belongs to user 0" in errors[1].message
    assert [path.read_bytes() for path in (locked, others)] == [OLD, OLD]
    assert names(open_folder) == ["closed", "locked", "others"]


@as_root
def test_a_folder_that_can_only_be_written_to_is_written_to(open_folder: Path) -> None:
    open_folder.chmod(0o333)

    with as_nobody():
        write_output(open_folder / "soup", NEW)
        write_output(open_folder / "soup", OLD)

    assert (open_folder / "soup").read_bytes() == OLD
    assert names(open_folder) == ["soup"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_missing_folders_are_made_and_go_again_where_nothing_came_of_it(
    mask: int, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "deep" / "soup"

    def fail() -> None:
        with output_file(path) as file:
            file.write(NEW)
            raise LookupError

    with umask(mask):
        with pytest.raises(LookupError):
            fail()
        left = names(tmp_path)
        write_output(path, NEW)

    assert left == []
    assert path.read_bytes() == NEW


def test_nothing_has_the_name_before_all_is_written(tmp_path: Path, way: str) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)

    with output_file(path) as file:
        file.write(NEW)
        file.flush()
        seen, beside = path.read_bytes(), names(tmp_path)

    assert seen == OLD
    assert len(beside) == (1 if way == "unnamed" else 2)
    assert (path.read_bytes(), names(tmp_path)) == (NEW, ["soup"])


@pytest.mark.parametrize("standing", [False, True])
def test_what_another_process_put_there_meanwhile_stays(standing: bool, tmp_path: Path) -> None:
    path, other = tmp_path / "soup", tmp_path / "other"
    if standing:
        path.write_bytes(OLD)

    def race() -> None:
        with output_file(path) as file:
            file.write(NEW)
            other.write_bytes(b"theirs")
            other.rename(path)

    with pytest.raises(Refused) as caught:
        race()

    assert caught.value.exit_code == ExitCode.STORAGE
    assert "by another process meanwhile" in caught.value.message
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["soup"])


def test_what_turned_into_a_link_meanwhile_is_not_written_through(tmp_path: Path) -> None:
    path, target = tmp_path / "soup", tmp_path / "target"
    target.write_bytes(OLD)
    path.write_bytes(OLD)

    def race() -> None:
        with output_file(path) as file:
            file.write(NEW)
            path.unlink()
            path.symlink_to("target")

    with pytest.raises(Refused):
        race()

    assert (target.read_bytes(), names(tmp_path)) == (OLD, ["soup", "target"])


def test_a_file_that_is_read_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)

    with pytest.raises(Refused, match="is one of the files that are read"):
        output_file(path, inputs=[outputs.identity_of(path.stat())]).__enter__()

    assert path.read_bytes() == OLD


@pytest.mark.parametrize("length", [255, 256])
def test_the_longest_name_that_the_file_system_takes_can_be_given(
    length: int, tmp_path: Path
) -> None:
    path = tmp_path / ("x" * length)

    if length == 255:
        write_output(path, NEW)
        write_output(path, NEW)
        assert path.read_bytes() == NEW
    else:
        error = refusal(path)
        assert error.exit_code == ExitCode.STORAGE
        assert "shorter name" in error.help


@pytest.mark.parametrize("place", ["file/soup", "loop/soup", "dangling/soup"])
def test_a_folder_that_is_none_is_said_to_be_none(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("absent")
    before = names(tmp_path)

    error = refusal(tmp_path / place)

    assert error.exit_code == ExitCode.STORAGE
    assert names(tmp_path) == before


@pytest.mark.parametrize("write", [write_output, write_whole])
@pytest.mark.parametrize("name", ["soup", "new/soup"])
def test_a_deleted_working_directory_is_said_to_be_gone(
    write: Callable[[Path, bytes], None], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with working_in(folder):
        folder.rmdir()
        with pytest.raises(StockpotError) as caught:
            write(Path(name), NEW)

    assert caught.value.exit_code == ExitCode.STORAGE
    assert "the working directory may have been deleted" in caught.value.help
    assert MOST_TRIES < 1000


@pytest.mark.parametrize("folder", ["/proc", "/proc/self"])
def test_a_folder_in_which_nothing_can_be_made_is_no_loop(folder: str) -> None:
    assert refusal(Path(folder) / "soup.safetensors").exit_code == ExitCode.STORAGE


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@as_root
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with mounted(folder, "size=64k"):
        (folder / "soup").write_bytes(OLD)
        with pytest.raises(StockpotError) as caught:
            write_output(folder / "soup", bytes(1 << 20))
        left = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert caught.value.exit_code == ExitCode.STORAGE
    assert "no space left" in caught.value.message
    assert left == {"soup": OLD}


@as_root
def test_a_disk_that_is_only_read_is_said_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    with mounted(folder, "size=64k"):
        (folder / "soup").write_bytes(OLD)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        errors = [refusal(folder / name) for name in ("soup", "other")]
        left = names(folder)

    assert [error.exit_code for error in errors] == [ExitCode.STORAGE] * 2
    assert left == ["soup"]


@as_root
def test_a_file_that_is_mounted_by_itself_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "far"
    path = tmp_path / "soup"
    path.write_bytes(b"")
    with mounted(folder, "size=64k"):
        (folder / "soup").write_bytes(OLD)
        subprocess.run(["mount", "--bind", folder / "soup", path], check=True)
        try:
            error = refusal(path)
            left = path.read_bytes()
        finally:
            subprocess.run(["umount", path], check=True)

    assert "is mounted by itself" in error.message
    assert left == OLD


def hidden_file(folder: Path, digits: str) -> Path:
    path = folder / f".stockpot-{digits * 16}.unfinished"
    path.write_bytes(OLD)
    return path


def test_what_dead_processes_left_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    dead, alive = hidden_file(tmp_path, "a"), hidden_file(tmp_path, "b")
    (tmp_path / ".stockpot-mine.unfinished").write_bytes(OLD)
    (tmp_path / f".stockpot-{'c' * 16}.unfinished").symlink_to("soup")
    os.mkfifo(tmp_path / f".stockpot-{'d' * 16}.unfinished")

    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_output(tmp_path / "soup", NEW)

    assert not dead.exists()
    assert names(tmp_path) == [
        alive.name,
        f".stockpot-{'c' * 16}.unfinished",
        f".stockpot-{'d' * 16}.unfinished",
        ".stockpot-mine.unfinished",
        "soup",
    ]


def test_a_file_system_without_hard_links_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "unnamed":
        pytest.skip("what has files without a name has hard links")

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)

    write_output(tmp_path / "soup", NEW)
    write_output(tmp_path / "soup", OLD)

    assert ((tmp_path / "soup").read_bytes(), names(tmp_path)) == (OLD, ["soup"])


@pytest.mark.parametrize("name", [one for one in STANDING if one != "a hard link"])
def test_nothing_but_a_file_is_added_to(name: str, tmp_path: Path) -> None:
    make, said = STANDING[name]
    path = tmp_path / "heads"
    make(path)

    with pytest.raises(Refused, match=said):
        appended_file(path).__enter__()


def test_a_file_is_added_to_and_keeps_its_other_name(tmp_path: Path) -> None:
    path = tmp_path / "heads"
    a_hard_link(path)

    with appended_file(path) as file:
        file.write(NEW)

    assert (tmp_path / "target").read_bytes() == OLD + NEW


@pytest.mark.parametrize(
    "path",
    ["plain", "my models/.cache", "a'b", 'a"b', "$HOME", "`id`", "a;b", "-rf", "new\nline", "*"],
)
def test_a_path_in_a_command_is_one_word_and_no_option(path: str) -> None:
    command = f"printf '%s\\0' {quoted(path)}"

    said = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout

    assert said.decode().removeprefix("./") == path + "\0"
