"""The package as pip builds it: a source distribution, a wheel made from it, and environments."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = {
    "operator": ROOT / "requirements/slim.txt",
    "workload": ROOT / "requirements/workload.txt",
}
"""The lock that holds what the package needs with an extra, and nothing else."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the package in it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, where nothing of this repository can be imported."""
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )


def uv() -> str:
    """The uv that made .venv."""
    version = re.search(r"^uv==([\d.]+)", (ROOT / "requirements/uv.txt").read_text(), re.M)
    assert version
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stockpot"
    os.environ.setdefault("UV_CACHE_DIR", str(cache / "packages"))
    return os.environ.get("UV") or str(cache / f"uv-{version[1]}/bin/uv")


def call(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both: the wheel is made from the source distribution, as pip and `build` do."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    hatch = (sys.executable, "-m", "hatchling", "build", "-d", folder / "dist", "-t")
    call(*hatch, "sdist", cwd=source)
    [packed] = (folder / "dist").glob("*.tar.gz")
    # Not `tarfile`: Python 3.11.2, which Debian 12 has, knows no `filter`.
    shutil.unpack_archive(packed, folder)
    call(*hatch, "wheel", cwd=folder / packed.name.removesuffix(".tar.gz"))
    return folder / "dist"


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    [built] = distributions.glob("*.whl")
    return built


Install = Callable[[str], Environment]


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Install the wheel with an extra (empty: none), from the locks and without the network."""

    def install(extra: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp(extra or "base") / "venv")
        call(uv(), "venv", "--quiet", "--python", sys.executable, environment.folder)
        pip = (uv(), "pip", "install", "--quiet", "--offline", "--python", environment.python)
        lock = LOCKS[extra].read_text() if extra else pins_for(project_requirements())
        pins = environment.folder / "lock.txt"
        pins.write_text(lock)
        call(*pip, "--require-hashes", "--no-deps", "-r", pins)
        call(*pip, "--no-deps", wheel)
        call(uv(), "pip", "check", "--quiet", "--python", environment.python)
        return environment

    return install


def pins_for(requirements: list[str]) -> str:
    """What requirements need, and nothing else, out of the lock of everything."""
    needed = closure("", requirements)
    lock = (ROOT / "requirements/dev.txt").read_text()
    pins = re.findall(r"^\S.*(?:\n +.*)*\n", lock, re.M)
    return "".join(pin for pin in pins if canonicalize_name(pin.partition("==")[0]) in needed)


def project_requirements() -> list[str]:
    """What the package needs without any extra."""
    dependencies: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "dependencies"
    ]
    return dependencies


def closure(extra: str, listed: list[str]) -> set[str]:
    """The canonical names of requirements, and of all that those need here."""
    names: set[str] = set()
    for text in listed:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in names or (
            requirement.marker and not requirement.marker.evaluate({"extra": extra})
        ):
            continue
        names.add(name)
        try:
            below = requires(name) or []
        except PackageNotFoundError:
            continue
        for wanted in requirement.extras or {""}:
            names |= closure(wanted, below)
    return names
