"""The files of a base where they lie: in a folder, or under a prefix of the store.

Nothing is fetched to list them, or to read a configuration and the header of a weights file.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import explained
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ByteSource, object_bytes, opened
from stockpot.store.sources import folder_tree


class BaseFiles(Protocol):
    """The files of one base, by their POSIX path in it."""

    @property
    def where(self) -> str:
        """The base as messages call it."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Each file with its size in bytes."""
        ...

    @property
    def unusable(self) -> Mapping[str, str]:
        """What is no plain file of the base, and why."""
        ...

    def shown(self, name: str) -> str:
        """Return a file as messages call it."""
        ...

    def read(self, name: str) -> bytes:
        """Read a small file whole."""
        ...

    def opened(self, name: str) -> AbstractContextManager[ByteSource]:
        """Open a file for reading ranges of it."""
        ...


@dataclass(frozen=True)
class FolderFiles:
    """A base in a folder.

    Links to its own files count as these; so do those of a Hugging Face cache, which lead from
    `snapshots/REVISION` to `blobs` beside it.
    """

    folder: Path
    sizes: Mapping[str, int] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path) -> "FolderFiles":
        """List a folder.

        Raises:
            Transient: It cannot be read.
        """
        # The trees of this folder: absolute, so that links can be followed.
        root = folder.resolve()
        blobs = root.parent.parent / "blobs"
        also = (blobs,) if root.parent.name == "snapshots" else ()
        tree = folder_tree(folder, also=also)
        with explained(folder):
            sizes = {name: path.stat().st_size for name, path in tree.files.items()}
        return FolderFiles(folder, sizes, tree.unusable)

    @property
    def where(self) -> str:
        return str(self.folder)

    def shown(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str) -> bytes:
        path = self.folder / name
        with explained(path):
            return path.read_bytes()

    @contextmanager
    def opened(self, name: str) -> Iterator[ByteSource]:
        with opened(self.folder / name) as source:
            yield source


@dataclass(frozen=True)
class StoredFiles:
    """A base under a prefix of the store."""

    store: ObjectStore
    prefix: str
    """It ends in a slash."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(store: ObjectStore, path: str) -> "StoredFiles":
        """List a prefix.

        Raises:
            Refused: (BAD_BASE) Nothing lies there.
            Transient: The store fails.
        """
        prefix = path.strip("/") + "/"
        # Some tools write an empty object for each folder; these are skipped.
        sizes = {
            info.key.removeprefix(prefix): info.size_bytes
            for info in store.list(prefix)
            if not info.key.endswith("/")
        }
        if not sizes:
            raise Refused(
                f"nothing lies in the store under {prefix}",
                help="look at the source's prefix, and whether the upload has ended",
                exit_code=ExitCode.BAD_BASE,
            )
        return StoredFiles(store, prefix, sizes)

    @property
    def where(self) -> str:
        return self.prefix

    def shown(self, name: str) -> str:
        return self.prefix + name

    def read(self, name: str) -> bytes:
        return self.store.get(self.prefix + name) or b""

    @contextmanager
    def opened(self, name: str) -> Iterator[ByteSource]:
        yield object_bytes(self.store, self.prefix + name)
