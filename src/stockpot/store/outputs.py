"""Output files that a user names: which names a command may write to, and how it writes them.

`atomic` writes the store's own files. This module writes all other files, by one rule: a command
creates a new file, or replaces a regular file as a whole.

    the name is                  what happens
    unused                       a new file: mode 0666 less the umask; missing folders are created
    a regular file, one name     replaced in one step; mode, owner, ACL and attributes stay
    a regular file, more names   refused: the other names would keep the old bytes
    a symbolic link              refused, wherever it leads: name the file behind it
    a folder, or NAME/           refused: no file is created under a name that was not given
    a device, pipe or socket     refused: commands with `-o -` write to a pipe

While it is written the file has no name (O_TMPFILE), so a process that is killed by any signal
leaves nothing. If the file system does not support that, the file has a hidden name and a lock; the
next output in that folder removes hidden files without a lock, which belong to dead processes.
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
"""Device and inode, which all names of a file share."""

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
    """Parse the name of an output file.

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
    """Refuse a name that no output may replace.

    Returns:
        The status of the existing regular file; None if the name is unused.

    Raises:
        Refused: The name is no regular file, or a file with several names (exit 2).
        Transient: Its status cannot be read.
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
    """Refuse a name that exists and is no regular file.

    Returns:
        The status of the existing file; None if the name is unused.

    Raises:
        Refused: The name is a link, a folder, a device, a pipe or a socket (exit 2).
        Transient: Its status cannot be read.
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
    """Open a file for writing that appears under its name when the block ends without an exception.

    After an exception, and after a signal, nothing is left: no file, and no folder created for it.

    Args:
        path: The name.
        mode: The mode of a new file, less the umask. A file that is replaced keeps its mode.
        is_new: Refuse to replace an existing file.
        final_name: Chooses another name in the same folder when all is written. None keeps `path`.
        inputs: Files that are read, and must not be replaced.

    Raises:
        Refused: The name may not be replaced (exit 2), or another process used it meanwhile; a
            file is where a folder is needed (7).
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
                    # Its count of names has changed since it was flushed without a name.
                    os.fsync(output.file.fileno())
            sync_folder(path.parent)
        finally:
            if not kept:
                for made in reversed(made_folders):
                    with suppress(OSError):
                        made.rmdir()


def write_output(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a small file that a user named, whole or not at all."""
    with output_file(path, mode=mode) as file:
        file.write(data)


@contextmanager
def appended_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to it, unbuffered and locked; it is created if it is missing.

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
    """Return the identity of a file, which all of its names share."""
    return standing.st_dev, standing.st_ino


class _Output:
    """A file that is being written: without a name, or with a hidden one."""

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
            # Only a rename replaces a file, and needs a name to rename.
            hidden = _hidden_name()
            self._link(hidden)
            self.hidden = hidden
        os.rename(self.hidden, path.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.hidden = None

    def _appear(self, path: Path) -> None:
        """Take a name that must still be unused."""
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
        """Remove the hidden name if there still is one."""
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
            # Before the lock is released, which protects the file from other processes' sweeps.
            output.clear()


def _unnamed_file(folder: int, mode: int) -> int | None:
    """Create a file without a name; None if it is not supported, or could not get a name later."""
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
    # It does not contain the name of the output: together they may be too long.
    return f".stockpot-{secrets.token_hex(8)}{UNFINISHED}"


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # If the file system has no locks, no process sweeps.
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _sweep(folder: int) -> None:
    """Remove what dead processes left: hidden files of this user that no process locks."""
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
        # Permission to write to a folder does not imply permission to read it.
        descriptor = os.open(path, os.O_PATH | flags)
    try:
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> list[Path]:
    """Create a folder and its parents; return those that were missing, the outermost first."""
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
    """Check that the existing file may be written, by opening it without writing."""
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
    # Drops the setuid and setgid bits, as a write does.
    os.fchmod(descriptor, stat.S_IMODE(standing.st_mode) & 0o777)
    for name in sorted(names):
        try:
            os.setxattr(descriptor, name, os.getxattr(path, name, follow_symlinks=False))
        except OSError:
            # The ACL decides who may read the file and must be kept; other attributes are optional.
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
            f"{path} is one of the inputs, and would be replaced",
            "choose another name, and move the result there afterwards",
        )


def _changed(path: Path) -> Refused:
    return Refused(
        f"{path} was put there, or replaced, by another process meanwhile; it was left as it is",
        help="let one process at a time write to that name, and run it again",
        exit_code=ExitCode.STORAGE,
    )


def _refused(message: str, advice: str) -> Refused:
    return Refused(message, help=advice, exit_code=ExitCode.USAGE)
