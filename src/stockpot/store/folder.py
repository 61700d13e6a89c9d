"""The object store adapter for a folder: local mode, tests, and a shared PersistentVolumeClaim.

A key is a path below the root. Writes are atomic and on the disk when they return. Symbolic
links below the root are never followed: a listing of versions shows them, so that a purge
removes them.
"""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import appearing, explained, problem, sync_folder, target_of
from stockpot.store.port import Custody, ObjectInfo, require_key, require_prefix

COPY_BYTES = 1 << 20
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FolderStore:
    """Objects as files below a root folder, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def file_of(self, key: str) -> Path:
        """Return the file of an object, whether or not it exists."""
        return self._path(key)

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with explained(path):
            try:
                status = path.lstat()
            except _ABSENT:
                return None
        if not stat.S_ISREG(status.st_mode):
            return None
        modified_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))
        return ObjectInfo(key, status.st_size, modified_at=modified_at)

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        with explained(path):
            file = _open(path)
            if file is None:
                return None
            with file:
                return file.read()

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        path = self._path(key)
        with explained(path), self._present(key) as file:
            file.seek(offset)
            return file.read(length)

    def put(self, key: str, data: bytes) -> None:
        with appearing(self._path(key)) as file:
            file.write(data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        if self.head(key) is not None:
            return False
        ours = True

        def link(temporary: Path, final: Path) -> None:
            nonlocal ours
            try:
                os.link(temporary, final)
            except FileExistsError:
                ours = False

        with appearing(path, link) as file:
            file.write(data)
        return ours

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as source, appearing(self._path(key)) as file:
            shutil.copyfileobj(source, file, COPY_BYTES)

    def get_file(self, key: str, path: Path) -> None:
        with self._present(key) as source, appearing(path) as file:
            shutil.copyfileobj(source, file, COPY_BYTES)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key, entry in self._walk(prefix):
            if target_of(entry.name) is None and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # Deleted since the folder was read.
                    yield ObjectInfo(key, entry.stat(follow_symlinks=False).st_size)

    def delete(self, key: str) -> None:
        self._remove(self._path(key))

    def list_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        for key, entry in self._walk(prefix):
            unfinished = entry.name if target_of(entry.name) else ""
            with suppress(FileNotFoundError):
                size_bytes = entry.stat(follow_symlinks=False).st_size
                yield ObjectInfo(key, size_bytes, version=unfinished)

    def get_version(self, info: ObjectInfo) -> bytes | None:
        path = self._path_of(info)
        with explained(path):
            file = _open(path)
            if file is None:
                return None
            with file:
                return file.read()

    def purge(self, info: ObjectInfo) -> None:
        self._remove(self._path_of(info))

    def why_kept(self, info: ObjectInfo) -> str:
        del info
        return ""

    def custody(self) -> Custody:
        return Custody()

    def _path_of(self, info: ObjectInfo) -> Path:
        path = self._path(info.key)
        if info.version and target_of(info.version) != path.name:
            raise ValueError(f"{info.version!r} is no version of {info.key} in a folder")
        return path.with_name(info.version) if info.version else path

    def _path(self, key: str) -> Path:
        path = self.root / require_key(key)
        if _behind_a_link(path.parent):
            raise Refused(
                f"{path} cannot be an object: a symbolic link stands on the way to it",
                help="put what the link leads to into the store itself",
                exit_code=ExitCode.STORAGE,
            )
        return path

    def _present(self, key: str) -> BinaryIO:
        path = self._path(key)
        with explained(path):
            file = _open(path)
        if file is None:
            raise KeyError(key)
        return file

    def _walk(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """List every file under the prefix; a temporary file has the key of its final name."""
        require_prefix(prefix)
        folder = prefix[: prefix.rfind("/") + 1]
        if not _behind_a_link(self.root / folder):
            yield from self._walk_folder(folder, prefix)

    def _walk_folder(self, folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        path = self.root / folder
        try:
            with os.scandir(path) as entries:
                named = sorted(
                    (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                    for entry in entries
                )
        except _ABSENT:
            return
        except OSError as error:
            raise problem(error, path) from error
        # A folder's name with its slash sorts among the files just as the keys of its objects do.
        for name, entry in named:
            if name.endswith("/"):
                inner = folder + name
                if inner.startswith(prefix) or prefix.startswith(inner):
                    yield from self._walk_folder(inner, prefix)
            elif (key := folder + (target_of(name) or name)).startswith(prefix):
                yield key, entry

    def _remove(self, path: Path) -> None:
        with explained(path):
            with suppress(*_ABSENT, PermissionError):
                if stat.S_ISDIR(path.lstat().st_mode):
                    return
            try:
                path.unlink()
            except _ABSENT:
                return
            # A power failure must not undo a purge.
            with suppress(FileNotFoundError):
                sync_folder(path.parent)
            self._prune(path.parent)

    def _prune(self, folder: Path) -> None:
        """Remove folders that became empty, from the bottom up.

        `rmdir` removes only empty folders, atomically: a writer's temporary file keeps its folder.
        """
        while folder != self.root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = folder.parent


def _open(path: Path) -> BinaryIO | None:
    """Open a regular file; None if there is none. A link does not count."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        return path.open("rb")
    except _ABSENT:
        return None


def _behind_a_link(folder: Path) -> bool:
    """Whether the path of a folder below the (resolved) root contains a symbolic link."""
    return os.path.realpath(folder) != str(folder)


def folder_of_url(url_path: str) -> Path:
    """Turn the path of a `file://` URL into a folder, which must be absolute."""
    if not url_path.startswith("/"):
        raise Refused(
            f"file://{url_path} names no folder",
            help="write an absolute path: file:///var/lib/stockpot",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )
    return Path(url_path)
