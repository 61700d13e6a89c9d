"""Get the pinned packages and hand out their JSON. Nothing here looks at a picture.

Tarballs are asked of npm, which knows its registry, and believed only when their SHA-512 is the
pinned one. Nothing of a package is installed or run: single files are read out of the tarball.
"""

import base64
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from sources import CAPTIONS, VENDORS, Package


def cache_folder() -> Path:
    """Where tarballs and prepared data lie between runs; made when absent."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "stockpot" / "emoji"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tarball(package: Package) -> Path:
    """The package's tarball in the cache, fetched when absent, checked always."""
    name = package.name.removeprefix("@").replace("/", "-")
    final = cache_folder() / f"{name}-{package.version}.tgz"
    if not final.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            command = ["npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", folder]
            subprocess.run([*command, f"{package.name}@{package.version}"], check=True, cwd=folder)
            (fetched,) = Path(folder).glob("*.tgz")
            _check(fetched, package)
            fetched.replace(final)
    _check(final, package)
    return final


def read_json(package: Package, path: str) -> Any:
    """One JSON file of a package, by its path inside it."""
    with tarfile.open(tarball(package)) as archive:
        member = archive.extractfile(f"package/{path}")
        if member is None:
            raise SystemExit(f"{package.name} {package.version} has no file {path}.")
        return json.load(member)


def _check(file: Path, package: Package) -> None:
    digest = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    if digest != package.integrity:
        raise SystemExit(
            f"{file} is not {package.name} {package.version}: its SHA-512 is {digest}, "
            f"not {package.integrity}.\n  help: delete the file and run this again."
        )


if __name__ == "__main__":
    for source in (CAPTIONS, *VENDORS.values()):
        print(f"{source.name} {source.version}: {tarball(source)}")
