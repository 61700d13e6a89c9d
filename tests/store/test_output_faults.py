"""Outputs under races, faults of the disk, special file systems and dead processes.

Invariant 15.
"""

import errno
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.store.output_files import (
    NEW,
    OLD,
    as_root,
    names,
    no_tmpfile,
    refusal,
    working_in,
)

from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.store import outputs
from stockpot.store.atomic import MOST_TRIES, write_whole
from stockpot.store.outputs import output_file, write_output


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "hidden":
        monkeypatch.setattr(outputs, "_unnamed_file", no_tmpfile)
    return str(request.param)


def test_the_name_keeps_its_old_file_until_all_is_written(tmp_path: Path, way: str) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)

    with output_file(path) as file:
        file.write(NEW)
        file.flush()
        before, beside = path.read_bytes(), names(tmp_path)

    assert before == OLD
    assert len(beside) == (1 if way == "unnamed" else 2)
    assert (path.read_bytes(), names(tmp_path)) == (NEW, ["soup"])


@pytest.mark.parametrize("standing", [False, True])
def test_a_file_of_another_process_written_meanwhile_stays(standing: bool, tmp_path: Path) -> None:
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


def test_a_name_that_became_a_link_meanwhile_is_not_written_through(tmp_path: Path) -> None:
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


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "soup"
    path.write_bytes(OLD)

    with pytest.raises(Refused, match="is one of the inputs"):
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
def test_a_path_below_something_other_than_a_folder_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("absent")
    before = names(tmp_path)

    error = refusal(tmp_path / place)

    assert error.exit_code == ExitCode.STORAGE
    assert names(tmp_path) == before


@pytest.mark.parametrize("write", [write_output, write_whole])
@pytest.mark.parametrize("name", ["soup", "new/soup"])
def test_a_deleted_working_directory_is_reported(
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
def test_a_folder_in_which_no_file_can_be_created_is_refused(folder: str) -> None:
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
def test_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    with mounted(folder, "size=64k"):
        (folder / "soup").write_bytes(OLD)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        errors = [refusal(folder / name) for name in ("soup", "other")]
        left = names(folder)

    assert [error.exit_code for error in errors] == [ExitCode.STORAGE] * 2
    assert left == ["soup"]


@as_root
def test_a_bind_mounted_file_is_not_replaced(tmp_path: Path) -> None:
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


def test_only_hidden_files_of_dead_processes_are_swept(tmp_path: Path) -> None:
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
