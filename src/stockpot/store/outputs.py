"""Files that a user names as an output: what a command may write to, and how it does so.

`atomic` makes the store's own files. This module makes everything else, and keeps one rule: what a
command writes under a name is either a new file or a regular file that is replaced as a whole.

    lies under the name          what happens
    nothing                      a new file: mode 0666 less the umask; missing folders are made
    a regular file, one name     replaced in one step; mode, owner, ACL and attributes stay
    a regular file, more names   refused: the other names would keep the old bytes
    a symbolic link              refused, wherever it leads: the file behind it has a name itself
    a folder, or NAME/           refused: nothing is made under a name that was not given
    a device, pipe or socket     refused: `-` writes to a pipe where a command offers that

While it is written the file has no name at all (O_TMPFILE), so a process that is killed, by any
signal, leaves nothing. Where the file system has no such files it has a hidden name and a lock; the
next output in that folder removes those whose lock nobody holds, which are those of dead processes.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.atomic import UNFINISHED, explained, quoted, sync_folder

FileIdentity = tuple[int, int]
"""Device and inode: the same for every name of one file."""

_TEMPORARY = re.compile(rf"\.stockpot-[0-9a-f]{{16}}{re.escape(UNFINISHED)}")
_OPEN_FILES = Path("/proc/self/fd")
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_ACCESS = "system.posix_acl_access"
_NOT_KEPT = frozenset({"security.capability", "security.ima", "security.evm"})
"""Attributes that vouch for the old bytes."""
_INTO_A_STREAM = "name a file; what has the option -o writes to a pipe or a device with: -o -"
_KINDS = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def output_path(text: str) -> Path:
    """Read the name of a file that is to be written.

    Raises:
        Refused: It is empty, or names a folder, as `dir/` and `..` do (exit 2).
    """
    name = text.rpartition("/")[2]
    if not text:
        raise _refused("the output has no name", "name a file")
    if name in ("", ".", ".."):
        inside = quoted(Path(text) / "NAME")
        raise _refused(f"{text} is a folder", f"name a file in it, as {inside}")
    return Path(text)


def require_output(path: Path) -> os.stat_result | None:
    """Refuse a name under which something lies that no output may replace.

    Returns:
        The regular file that lies there, or None where there is nothing.

    Raises:
        Refused: It is no regular file, or one with several names (exit 2).
        Transient: It cannot be looked at.
    """
    standing = require_regular(path)
    if standing is not None and standing.st_nlink > 1:
        raise _refused(
            f"{path} is one of {standing.st_nlink} names of a file (hard links): replaced under "
            "this name, it would stay as it was under the others",
            "choose another name",
        )
    return standing


def require_regular(path: Path) -> os.stat_result | None:
    """Refuse a name under which something else lies than a regular file.

    Returns:
        The file that lies there, or None where there is nothing.

    Raises:
        Refused: It is a link, a folder, a device, a pipe or a socket (exit 2).
        Transient: It cannot be looked at.
    """
    with explained(path):
        try:
            standing = path.lstat()
        except FileNotFoundError:
            return None
    if stat.S_ISLNK(standing.st_mode):
        raise _refused(
            f"{path} is a symbolic link, and nothing is written through links",
            _INTO_A_STREAM
            if path.is_relative_to("/dev") or path.is_relative_to("/proc")
            else f"name the file that it leads to: readlink -f {quoted(path)}",
        )
    if stat.S_ISDIR(standing.st_mode):
        raise _refused(f"{path} is a folder", f"name a file in it, as {quoted(path / 'NAME')}")
    if not stat.S_ISREG(standing.st_mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(standing.st_mode)), "no file")
        raise _refused(f"{path} is {kind}, and only a file is written to", _INTO_A_STREAM)
    return standing


@contextmanager
def output_file(
    path: Path,
    *,
    mode: int = 0o666,
    is_new: bool = False,
    final_name: Callable[[], Path] | None = None,
    inputs: Sequence[FileIdentity] = (),
) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name, on the disk, when the block ends well.

    After an exception, and after a signal, nothing is left: no file, and no folder made for it.

    Args:
        path: The name.
        mode: Of a new file, less the umask. One that is replaced keeps its own.
        is_new: Replace nothing.
        final_name: Chooses another name in the same folder when all is written; None: `path`.
        inputs: Files that are read, and must not be replaced.

    Raises:
        Refused: Something lies there that no output may replace (exit 2), or that another process
            put there meanwhile; a file stands where a folder is needed (7).
        Transient: The file or its folder cannot be written, or the disk is full.
    """
    standing = None if final_name else require_output(path)
    _require_no_input(path, standing, inputs)
    if is_new and standing is not None:
        raise _changed(path)
    with explained(path):
        made_folders = _make_folders(path.parent)
        kept = False
        try:
            with _open_folder(path.parent) as folder:
                _sweep(folder)
                if standing is not None:
                    _require_replaceable(path, standing, folder)
                with _new_file(folder, mode if standing is None else 0o600) as output:
                    if standing is not None:
                        _take_over(output.file.fileno(), path, standing)
                    yield output.file
                    output.file.flush()
                    os.fsync(output.file.fileno())
                    if final_name is not None:
                        path = final_name()
                        standing = require_output(path)
                        _require_no_input(path, standing, inputs)
                        if standing is not None:
                            _require_replaceable(path, standing, folder)
                            _take_over(output.file.fileno(), path, standing)
                    output.settle(path, standing)
                    kept = True
                    # It had no name when it was synced: its count of names is new.
                    os.fsync(output.file.fileno())
            sync_folder(path.parent)
        finally:
            if not kept:
                for made in reversed(made_folders):
                    with suppress(OSError):
                        made.rmdir()


def write_output(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a small file that a user named: whole, or not at all."""
    with output_file(path, mode=mode) as file:
        file.write(data)


@contextmanager
def appended_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to add to its end, unbuffered and locked; it is made where there is none.

    Raises:
        Refused: It is a symbolic link or no regular file (exit 2).
        Transient: It cannot be written.
    """
    require_regular(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            os.fsync(file.fileno())
        if is_new:
            sync_folder(path.parent)


def identity_of(standing: os.stat_result) -> FileIdentity:
    """Return what tells one file from every other."""
    return standing.st_dev, standing.st_ino


class _Output:
    """A file under way: without a name, or with a hidden one."""

    def __init__(self, folder: int, file: BinaryIO, hidden: str | None) -> None:
        self.folder, self.file, self.hidden = folder, file, hidden

    def settle(self, path: Path, standing: os.stat_result | None) -> None:
        """Give the file its name, in one step."""
        if standing is None:
            self._appear(path)
            return
        now = require_output(path)
        if now is None or identity_of(now) != identity_of(standing):
            raise _changed(path)
        if self.hidden is None:
            # A file without a name cannot replace one that has it: it needs one to be renamed.
            hidden = _hidden_name()
            self._link(hidden)
            self.hidden = hidden
        os.rename(self.hidden, path.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.hidden = None

    def _appear(self, path: Path) -> None:
        """Take a name that must still be free."""
        try:
            self._link(path.name)
        except FileExistsError as error:
            raise _changed(path) from error
        except OSError as error:
            if self.hidden is None or error.errno not in _NO_HARD_LINKS:
                raise
            if require_output(path) is not None:
                raise _changed(path) from error
            os.rename(self.hidden, path.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            self.hidden = None

    def _link(self, name: str) -> None:
        if self.hidden is None:
            descriptor = _OPEN_FILES / str(self.file.fileno())
            os.link(descriptor, name, dst_dir_fd=self.folder, follow_symlinks=True)
        else:
            os.link(self.hidden, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)

    def clear(self) -> None:
        """Remove the hidden name, where there is one still."""
        if self.hidden is not None:
            with suppress(OSError):
                os.unlink(self.hidden, dir_fd=self.folder)


@contextmanager
def _new_file(folder: int, mode: int) -> Iterator[_Output]:
    descriptor = _unnamed_file(folder, mode)
    hidden = None
    if descriptor is None:
        hidden, descriptor = _hidden_file(folder, mode)
    with os.fdopen(descriptor, "wb") as file:
        output = _Output(folder, file, hidden)
        _lock(file.fileno())
        try:
            yield output
        finally:
            # Before the lock goes, which says that somebody still writes it.
            output.clear()


def _unnamed_file(folder: int, mode: int) -> int | None:
    """Make a file without a name; None where the file system has none, or gives it no name."""
    if not hasattr(os, "O_TMPFILE") or not _OPEN_FILES.is_dir():
        return None
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return None
        raise


def _hidden_file(folder: int, mode: int) -> tuple[str, int]:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        name = _hidden_name()
        descriptor = os.open(name, flags, mode, dir_fd=folder)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # Another process swept it before it was locked.


def _hidden_name() -> str:
    # Not with the name of the output in it: together they may be too long.
    return f".stockpot-{secrets.token_hex(8)}{UNFINISHED}"


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # Without locks nothing is swept either.
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _sweep(folder: int) -> None:
    """Remove what outputs of dead processes left: our own hidden files that nobody locks."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if _TEMPORARY.fullmatch(name):
                with suppress(OSError):
                    _sweep_file(folder, name)


def _sweep_file(folder: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        ours = os.fstat(descriptor)
        if not stat.S_ISREG(ours.st_mode) or ours.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if identity_of(os.stat(name, dir_fd=folder, follow_symlinks=False)) == identity_of(ours):
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)


@contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except PermissionError:
        # One can write to a folder without reading it, as to a letter box.
        descriptor = os.open(path, os.O_PATH | flags)
    try:
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; return those that were missing, the outermost first."""
    missing = []
    while not os.path.lexists(folder) and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    made = []
    for path in reversed(missing):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        made.append(path)
    return made


def _require_replaceable(path: Path, standing: os.stat_result, folder: int) -> None:
    """Ask the kernel whether the file that lies there may be written, and write nothing."""
    if standing.st_dev != os.fstat(folder).st_dev:
        raise _refused(f"{path} is mounted by itself and cannot be replaced", "choose another name")
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if identity_of(os.fstat(descriptor)) != identity_of(standing):
            raise _changed(path)
    finally:
        os.close(descriptor)


def _take_over(descriptor: int, path: Path, standing: os.stat_result) -> None:
    """Give the new file the owner, the mode, the ACL and the attributes of the old one."""
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (standing.st_uid, standing.st_gid):
        try:
            os.fchown(descriptor, standing.st_uid, standing.st_gid)
        except PermissionError as error:
            raise Transient(
                f"{path} belongs to user {standing.st_uid} and group {standing.st_gid}, which a "
                "file that replaces it could not keep",
                help="choose another name, or run it as that user",
            ) from error
    names = _attributes(path)
    if _ACCESS not in names:
        with suppress(OSError):
            os.removexattr(descriptor, _ACCESS)  # The folder's default for new files.
    # As a write does, it ends the right to run as another user.
    os.fchmod(descriptor, stat.S_IMODE(standing.st_mode) & 0o777)
    for name in sorted(names):
        try:
            os.setxattr(descriptor, name, os.getxattr(path, name, follow_symlinks=False))
        except OSError:
            # Who may read it must stay as it was; other attributes are kept where that can be.
            if name == _ACCESS:
                raise


def _attributes(path: Path) -> set[str]:
    try:
        return set(os.listxattr(path, follow_symlinks=False)) - _NOT_KEPT
    except OSError:
        return set()


def _require_no_input(
    path: Path, standing: os.stat_result | None, inputs: Sequence[FileIdentity]
) -> None:
    if standing is not None and identity_of(standing) in inputs:
        raise _refused(
            f"{path} is one of the files that are read, and would be replaced",
            "choose another name; move it there when all is well",
        )


def _changed(path: Path) -> Refused:
    return Refused(
        f"{path} was put there, or replaced, by another process meanwhile; it was left as it is",
        help="let one process at a time write to that name, and run it again",
        exit_code=ExitCode.STORAGE,
    )


def _refused(message: str, advice: str) -> Refused:
    return Refused(message, help=advice, exit_code=ExitCode.USAGE)
