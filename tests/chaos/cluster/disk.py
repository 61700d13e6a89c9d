"""The store's disk: small enough to be filled, and nobody else's."""

import errno
import subprocess
from pathlib import Path

SIZE_MIB = 3072
BLOCK_BYTES = 1 << 20


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._filler = folder, folder / "filler"
        self.data = folder / "data"

    def mount(self) -> None:
        """Have it, empty, before there is a node that is to see it."""
        self._folder.mkdir(parents=True)
        options = f"size={SIZE_MIB}m,mode=0755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaos", self._folder], check=True)
        self.data.mkdir()

    def fill(self) -> None:
        """Leave no room on it."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (BLOCK_BYTES, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        """Take away what filled it."""
        self._filler.unlink()

    def unmount(self) -> None:
        """Have it no more."""
        if self._folder.is_mount():
            subprocess.run(["umount", self._folder], check=True)
