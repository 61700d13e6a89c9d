"""Which names an output may be written to, and what it keeps of a file that it replaces.

Invariant 15.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.output_files import (
    DEVICES,
    NEW,
    NOBODY,
    OLD,
    STANDING,
    a_hard_link,
    as_nobody,
    as_root,
    mode_of,
    names,
    no_tmpfile,
    refusal,
    umask,
)

from stockpot.errors import ExitCode, Refused
from stockpot.store import outputs
from stockpot.store.atomic import quoted
from stockpot.store.outputs import appended_file, output_file, output_path, write_output


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "hidden":
        monkeypatch.setattr(outputs, "_unnamed_file", no_tmpfile)
    return str(request.param)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize(
    "name", [*STANDING, *(pytest.param(kind, marks=as_root) for kind in DEVICES)]
)
def test_other_things_than_a_file_with_one_name_are_refused_and_kept(
    name: str, tmp_path: Path
) -> None:
    make, words = {**STANDING, **DEVICES}[name]
    path = tmp_path / "soup"
    make(path)
    before, beside = path.lstat(), names(tmp_path)

    error = refusal(path)

    assert error.exit_code == ExitCode.USAGE
    assert f"{path} {words}" in error.message
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert names(tmp_path) == beside
    if (tmp_path / "target").exists():
        assert (tmp_path / "target").read_bytes() == OLD


@pytest.mark.parametrize("text", ["", ".", "..", "dir/", "dir/.", "dir/..", "/"])
def test_a_name_of_a_folder_is_refused(text: str) -> None:
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

    status = path.stat()
    assert (path.read_bytes(), status.st_uid, status.st_gid) == (NEW, 1234, 4321)
    assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == attributes


@as_root
def test_a_user_without_permission_or_ownership_replaces_nothing(open_folder: Path) -> None:
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
def test_a_write_only_folder_is_written_to(open_folder: Path) -> None:
    open_folder.chmod(0o333)

    with as_nobody():
        write_output(open_folder / "soup", NEW)
        write_output(open_folder / "soup", OLD)

    assert (open_folder / "soup").read_bytes() == OLD
    assert names(open_folder) == ["soup"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_missing_folders_are_created_and_removed_again_on_failure(
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


@pytest.mark.parametrize("name", [kind for kind in STANDING if kind != "a hard link"])
def test_only_a_regular_file_is_appended_to(name: str, tmp_path: Path) -> None:
    make, words = STANDING[name]
    path = tmp_path / "heads"
    make(path)

    with pytest.raises(Refused, match=words):
        appended_file(path).__enter__()


def test_a_file_is_appended_to_and_keeps_its_other_name(tmp_path: Path) -> None:
    path = tmp_path / "heads"
    a_hard_link(path)

    with appended_file(path) as file:
        file.write(NEW)

    assert (tmp_path / "target").read_bytes() == OLD + NEW


@pytest.mark.parametrize(
    "path",
    ["plain", "my models/.cache", "a'b", 'a"b', "$HOME", "`id`", "a;b", "-rf", "new\nline", "*"],
)
def test_a_quoted_path_is_one_word_and_not_an_option(path: str) -> None:
    command = f"printf '%s\\0' {quoted(path)}"

    words = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout

    assert words.decode().removeprefix("./") == path + "\0"
