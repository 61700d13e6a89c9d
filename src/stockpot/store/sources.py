"""Fetches the folders that a run reads, from a mount or the store, and computes their digests.

A STORE place is a prefix below the store's root, which includes the prefix of its URL: so a run
reads nothing of the bucket outside its store.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stockpot.api.runspec import Location, Place
from stockpot.core.digests import PREFIX, Digest, digest_of_tree
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.atomic import explained, problem, quoted
from stockpot.store.port import CONNECTIONS, ObjectStore, require_key


def fetch_folder(
    location: Location,
    store: ObjectStore,
    into: Path,
    *,
    exit_code: ExitCode = ExitCode.BAD_DATA,
) -> Path:
    """Make a folder available as local files.

    Args:
        location: A mounted folder, which is used in place; or a prefix, which is downloaded.
        store: Holds the prefix.
        into: A folder for this fetch alone, whose content is replaced. Unused for a mount.
        exit_code: The exit code of the refusal if there is no such folder.

    Returns:
        The local folder.

    Raises:
        Refused: There is no such folder, or nothing under the prefix.
        Transient: The store or the disk fails.
    """
    if location.place is Place.FOLDER:
        return require_folder(Path(location.path), exit_code=exit_code)
    prefix = location.path.strip("/") + "/"
    # Some tools write an empty object for each folder; these are skipped.
    keys = [info.key for info in store.list(prefix) if not info.key.endswith("/")]
    if not keys:
        raise Refused(
            f"nothing lies in the store under {prefix}",
            help="look at the source's prefix, and whether the upload has ended",
            exit_code=exit_code,
        )

    paths = {key: _path_of(key.removeprefix(prefix), exit_code) for key in keys}
    return fetch_keys(paths, store, into)


def fetch_keys(paths: Mapping[str, str], store: ObjectStore, into: Path) -> Path:
    """Download objects into a folder, whose content is replaced.

    Args:
        paths: Each object's key, and its path in the folder.
        store: Holds the objects.
        into: A folder for this fetch alone.

    Raises:
        Transient: The store or the disk fails.
    """
    with explained(into), suppress(FileNotFoundError):
        shutil.rmtree(into)

    def fetch(key: str) -> None:
        try:
            store.get_file(key, into / paths[key])
        except KeyError as error:
            raise Transient(
                f"{key} was removed from the store while its folder was read",
                help="wait until the folder is no longer being changed, then run it again",
            ) from error

    # Small files alternate between waiting for network and disk: fetching several overlaps both.
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        for _ in pool.map(fetch, paths):
            pass
    finally:
        # After the first failure, pending fetches are not begun.
        pool.shutdown(cancel_futures=True)
    return into


def require_folder(folder: Path, *, exit_code: ExitCode) -> Path:
    """Return a folder, or refuse it where there is none.

    Raises:
        Refused: There is no such folder.
    """
    with explained(folder):
        if not folder.is_dir():
            raise Refused(
                f"there is no folder {folder}",
                help="look at the source's path, and whether its volume is mounted",
                exit_code=exit_code,
            )
    return folder


def _path_of(key: str, exit_code: ExitCode) -> str:
    try:
        return require_key(key)
    except Refused as error:
        raise Refused(
            f"{error.message}, and no file of the source can be called so",
            help="rename or remove it in the source",
            exit_code=exit_code,
        ) from error


def tree_files(folder: Path, *, exit_code: ExitCode = ExitCode.BAD_DATA) -> dict[str, Path]:
    """List every file of a folder, including hidden ones, by its POSIX path in the folder.

    A symbolic link to a file of the same folder counts as that file. Everything else that is no
    plain file or folder is refused, because its bytes do not belong to the folder.

    Raises:
        Refused: There is a link that leaves the folder or leads to a folder; a socket, pipe or
            device; or a name that is not UTF-8.
        Transient: A folder cannot be read.
    """
    tree = folder_tree(folder)
    for name, why in tree.unusable.items():
        raise Refused(
            f"{_printable(folder / name)} {why}",
            help=f"copy the folder with its links resolved: cp -rL {quoted(folder)} COPY",
            exit_code=exit_code,
        )
    return dict(tree.files)


@dataclass(frozen=True)
class FolderTree:
    """The files of a folder, by their POSIX path in it."""

    files: Mapping[str, Path]
    unusable: Mapping[str, str]
    """What is no file of the folder, and why."""


def folder_tree(folder: Path, *, also: Sequence[Path] = ()) -> FolderTree:
    """List every file of a folder, including hidden ones.

    Args:
        folder: The folder.
        also: Other folders that links of this one may lead to.

    Raises:
        Transient: A folder cannot be read.
    """
    files: dict[str, Path] = {}
    unusable: dict[str, str] = {}
    roots = (folder.resolve(), *also)

    def unreadable(error: OSError) -> None:
        raise problem(error, Path(error.filename or folder)) from error

    for above, folders, names in os.walk(folder, onerror=unreadable):
        links = [name for name in folders if Path(above, name).is_symlink()]
        for name in (*names, *links):
            path = Path(above, name)
            inside = path.relative_to(folder).as_posix()
            if why := _fault(path, roots):
                unusable[inside] = why
            else:
                files[inside] = path
    return FolderTree(files, unusable)


def tree_digest(folder: Path, *, exit_code: ExitCode = ExitCode.BAD_DATA) -> Digest:
    """Compute the digest of a folder: a Merkle root over (path, SHA-256), sorted by path.

    It covers every file, including hidden ones; empty folders do not count.

    Raises:
        Refused: The folder holds what `tree_files` refuses.
        Transient: A file cannot be read.
    """
    files = tree_files(folder, exit_code=exit_code)
    return digest_of_tree({name: file_digest(path) for name, path in files.items()})


def file_digest(path: Path) -> Digest:
    """Compute the SHA-256 of a file, read in blocks."""
    with explained(path), path.open("rb") as file:
        return Digest(PREFIX + hashlib.file_digest(file, "sha256").hexdigest())


def _fault(path: Path, roots: Sequence[Path]) -> str | None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "has a name that is no UTF-8"
    with explained(path):
        # A link that leads round in a circle does not exist, and cannot be resolved.
        if path.is_symlink() and not (
            path.exists() and any(path.resolve().is_relative_to(root) for root in roots)
        ):
            return "is a link that leaves the folder"
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "is a link to a folder"
    return None if stat.S_ISREG(mode) else "is no plain file"


def _printable(path: Path) -> str:
    return str(path).encode(errors="backslashreplace").decode()
