"""Atomic writes: a local file appears under its name whole and on the disk, or not at all.

The bytes go into a temporary file in the same folder, are flushed to the disk, and take the name in
one step. Errors of the operating system become StockpotErrors.
"""

import errno
import os
import re
import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stockpot.errors import ExitCode, Refused, StockpotError, Transient

UNFINISHED = ".unfinished"
"""The suffix of temporary files. No object may have such a name."""

_TEMPORARY = re.compile(r"^\.(?P<target>.+)\.[0-9a-f]{16}\.unfinished$", re.DOTALL)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)
MOST_TRIES = 100
"""How often a folder that other processes prune is created, before it counts as unusable."""
_CANNOT_SYNC = (*_FORBIDDEN, errno.EINVAL, errno.ENOTSUP)


def target_of(name: str) -> str | None:
    """Return the final name of a temporary file; None if the name is not a temporary one."""
    match = _TEMPORARY.match(name)
    return match["target"] if match else None


@contextmanager
def appearing(
    path: Path, settle: Callable[[Path, Path], object] = os.replace
) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends without an exception.

    It is then on the disk, with mode 0644 whatever the umask is: pods of other users read it.
    Missing folders above it are created. After an exception nothing is left.

    Args:
        path: The final name.
        settle: Gives the finished temporary file (first) its final name (second).

    Raises:
        Transient: The disk is full, or the folder cannot be written.
        Refused: A file is where a folder is needed, or the other way round.
    """
    with explained(path):
        temporary, file = _open_beside(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            settle(temporary, path)
            sync_folder(path.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that appears under its name whole, replacing an existing one."""
    with appearing(path) as file:
        file.write(data)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about a path into StockpotErrors."""
    try:
        yield
    except OSError as error:
        raise problem(error, path) from error


def problem(error: OSError, path: Path) -> StockpotError:
    """Return the StockpotError for an OSError: what went wrong with a path, and what to do."""
    why = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return Transient(
            f"no space left to write {path} ({why}); nothing was left under that name",
            help="free some space there, or raise the quota, and run it again",
        )
    if error.errno in _FORBIDDEN:
        return Transient(
            f"{path} cannot be read or written ({why})",
            help=f"give this user the right to: ls -ld {quoted(path.parent)}; or choose another "
            "folder",
        )
    if error.errno in _IN_THE_WAY:
        return Refused(
            f"{path} cannot be written: there is a file where a folder is needed, or a folder "
            f"where a file is ({why})",
            help="move what lies there out of the way",
            exit_code=ExitCode.STORAGE,
        )
    if error.errno in _NO_NAME:
        return Refused(
            f"{path} cannot be the name of a file ({why})",
            help="choose a shorter name, and a path without links that lead to themselves",
            exit_code=ExitCode.STORAGE,
        )
    if error.errno == errno.ENOENT:
        return Transient(
            f"{path} cannot be read or written: its folder is gone, or nothing can be made in it "
            f"({why})",
            help="name a folder that is there; the working directory may have been deleted",
        )
    return Transient(f"{path} cannot be read or written ({why})", help="look at the disk: dmesg")


def quoted(path: Path | str) -> str:
    """Quote a path as one word of a shell command that is not taken for an option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the file system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _open_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file in the folder of the final name, and the folder if it is missing."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}"
    for _ in range(MOST_TRIES):
        _make_folder(path.parent)
        with suppress(FileNotFoundError):
            # Missing again if another process deleted the last file in it, and pruned the folder.
            return temporary, temporary.open("xb")
    # Files cannot be created in a deleted working directory or in /proc.
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        return  # The one above was just pruned. The caller tries again.
    with suppress(FileNotFoundError):
        sync_folder(folder.parent)
