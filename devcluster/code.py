"""What pods run: this repository's src/ and the installed packages, as one folder of the cluster.

`PYTHONPATH=/opt/stockpot/src:/opt/stockpot/site` in the base image is all of it.
"""

import filecmp
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from devcluster.images import PYTHON
from devcluster.places import REPOSITORY, Places, cache
from devcluster.problem import Problem
from devcluster.progress_log import run, step

VENV = REPOSITORY / ".venv"
LOCK = REPOSITORY / "requirements" / "dev.txt"


def refresh(places: Places) -> Path:
    """Bring the cluster's folder up to date with the repository, and give it.

    Raises:
        Problem: The packages are not installed, and cannot be.
    """
    places.code.mkdir(parents=True, exist_ok=True)
    _packages(places.code / "site")
    _sources(places.code / "src")
    return places.code


def _sources(target: Path) -> None:
    source = REPOSITORY / "src"
    if target.is_dir() and _same(filecmp.dircmp(source, target, ignore=["__pycache__"])):
        return
    part, old = target.with_name("src.part"), target.with_name("src.old")
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("__pycache__"))
    # Whoever runs has read its modules; whoever starts now reads the new ones.
    if target.is_dir():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _same(compared: "filecmp.dircmp[str]") -> bool:
    return not (
        compared.left_only or compared.right_only or compared.diff_files or compared.funny_files
    ) and all(_same(below) for below in compared.subdirs.values())


def _packages(target: Path) -> None:
    key = hashlib.sha256(LOCK.read_bytes() + PYTHON.encode()).hexdigest()[:16]
    marker = target.with_name("site.key")
    if target.is_dir() and marker.is_file() and marker.read_text() == key:
        return
    marker.unlink(missing_ok=True)
    source = _installed()
    if source is None:
        source = cache() / f"site-{key}"
        if not source.is_dir():
            _install(source)
    part = target.with_name("site.part")
    for left in (part, target):
        shutil.rmtree(left, ignore_errors=True)
    # Links, not copies, where the disk is the same: nobody writes into either.
    if subprocess.run(
        ["cp", "-a", "--link", str(source), str(part)], capture_output=True, check=False
    ).returncode:
        shutil.rmtree(part, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source), str(part)], check=True)
    part.rename(target)
    marker.write_text(key)


def _installed() -> Path | None:
    """Give .venv's packages, if its Python is the image's."""
    packages = VENV / "lib" / f"python{PYTHON}" / "site-packages"
    synced = VENV / ".synced-with-requirements-dev"
    if not packages.is_dir() or not synced.is_file():
        return None
    return packages if synced.stat().st_mtime >= LOCK.stat().st_mtime else None


def _install(to: Path) -> None:
    uv = next(iter(sorted(cache().glob("uv-*/bin/uv"))), None) or shutil.which("uv")
    if uv is None:
        raise Problem("uv, which installs packages, is not here", help="make setup")
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
    command += ["--no-deps", f"--python-version={PYTHON}"]
    command += [f"--python-platform={platform.machine()}-unknown-linux-gnu"]
    with step(f"installing the packages for Python {PYTHON}", eta_s=90):
        run(
            [*command, f"--target={part}", "-r", LOCK],
            log=cache() / "devcluster-site.log",
            failed="the packages for the cluster's Python could not be installed",
            environment={
                "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(cache() / "packages")
            }
            | {"UV_SYSTEM_CERTS": "true"},
        )
    part.rename(to)
