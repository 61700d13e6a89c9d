"""How a local file comes to be: whole, under its name, on the disk, or not at all.

Only that. The bytes go into a temporary file beside the name, are flushed to the disk, and
take the name in one step. What the operating system says against it becomes a sentence.
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
"""What the name of a temporary file ends in. No object may have such a name."""

_TEMPORARY = re.compile(r"^\.(?P<target>.+)\.[0-9a-f]{16}\.unfinished$", re.DOTALL)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)
MOST_TRIES = 100
"""How often a folder that others prune is made again, before it counts as unusable."""
_CANNOT_SYNC = (*_FORBIDDEN, errno.EINVAL, errno.ENOTSUP)


def target_of(name: str) -> str | None:
    """Say what a temporary file was to become, or None where the name is no temporary one's."""
    found = _TEMPORARY.match(name)
    return found["target"] if found else None


@contextmanager
def appearing(
    path: Path, settle: Callable[[Path, Path], object] = os.replace
) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends well.

    It is then on the disk, with mode 0644 whatever the umask is: pods of other users read it.
    Missing folders above it are made. After an exception nothing is left.

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
    """Write a small file that appears under its name whole, replacing what was there."""
    with appearing(path) as file:
        file.write(data)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a path into a sentence of ours."""
    try:
        yield
    except OSError as error:
        raise problem(error, path) from error


def problem(error: OSError, path: Path) -> StockpotError:
    """Say what went wrong with a path, and what to do about it."""
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
    """Write a path as one word of a shell command, which is no option, whatever stands in it."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can."""
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
    """Make a temporary file in the folder of the final name; make the folder if need be."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}"
    for _ in range(MOST_TRIES):
        _make_folder(path.parent)
        with suppress(FileNotFoundError):
            # Gone again: somebody who deleted the last file in it took the empty folder away.
            return temporary, temporary.open("xb")
    # A deleted working directory and /proc are folders in which nothing can be made.
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
