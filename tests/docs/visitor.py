"""A reader who comes with nothing: an unprivileged user, an empty home, a fresh clone.

Only what `make setup` would download is there already, in the cache of that home.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT

FIRST_UID = 61_000
KEPT = ("LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE")
PYTHON = "import sys, pip; sys.exit(sys.version_info < (3, 11))"


@dataclass(frozen=True)
class Visitor:
    """A user whose folder is new."""

    folder: Path
    owner: int | None
    """The ID of a user that nobody else is; None: the one who runs the tests."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def user(self) -> Sequence[str]:
        """What is put before a command that this user runs."""
        return as_user(self.owner)

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment: nothing of ours but how to reach the network."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join(filter(self.may_enter, os.environ["PATH"].split(os.pathsep))),
            "HOME": str(self.home),
            "USER": "visitor",
            "TMPDIR": str(self.folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "UV_OFFLINE": "1",
            # The cache's files are not the visitor's, who may link to them by name alone.
            "UV_LINK_MODE": "symlink",
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def may_enter(self, folder: str) -> bool:
        """Whether a folder is open to everybody, which is how the visitor comes to it."""
        path = Path(folder)
        if self.owner is None or not path.is_dir():
            return path.is_dir()
        return all(
            folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents)
        )

    def give(self, path: Path) -> None:
        """Make a file or a folder, and all that is in it, the visitor's."""
        if self.owner is not None:
            for folder, _, files in os.walk(path):
                os.chown(folder, self.owner, self.owner)
                for name in files:
                    os.chown(Path(folder, name), self.owner, self.owner, follow_symlinks=False)

    def end_all(self) -> None:
        """End whatever the visitor left running: a server, if its page failed."""
        mine = f"HOME={self.home}".encode()
        deadline_s = time.monotonic() + 30
        while left := [pid for pid, environment in environments() if mine in environment]:
            assert time.monotonic() < deadline_s, f"{left} do not end"
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def environments() -> Iterator[tuple[int, list[bytes]]]:
    """Every process, with the variables that it was started with."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may have ended meanwhile, or be somebody else's.
            with suppress(OSError):
                yield int(entry.name), (entry / "environ").read_bytes().split(b"\0")


def as_user(owner: int | None) -> Sequence[str]:
    if owner is None:
        return ()
    return ("setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups", "--no-new-privs")


@contextmanager
def visitor() -> Iterator[Visitor]:
    """Make one; at the end nothing of theirs runs, and their folder is gone."""
    owner = FIRST_UID + os.getpid() % 4000 if os.geteuid() == 0 else None
    # Not below pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="stockpot-docs-"))
    folder.chmod(0o755)
    guest = Visitor(folder, owner)
    try:
        for name in ("home", "tmp", "scratch"):
            (folder / name).mkdir()
        link_cache(guest.home / ".cache/stockpot", owner)
        for name in ("home", "tmp", "scratch"):
            os.chown(folder / name, owner or -1, owner or -1)
        os.chown(guest.home / ".cache", owner or -1, owner or -1)
        yield guest
    finally:
        guest.end_all()
        shutil.rmtree(folder)


def has_python(guest: Visitor) -> bool:
    """Whether the visitor reaches a Python that `make setup` takes."""
    completed = subprocess.run(
        [*guest.user, "python3", "-c", PYTHON],
        cwd="/",
        env=guest.variables,
        capture_output=True,
        check=False,
    )
    return completed.returncode == 0


def link_cache(into: Path, owner: int | None) -> None:
    """Give a home the packages that are in ours: files are shared, folders are its own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stockpot"
    sources = {path.name: path for path in cache.iterdir() if path.is_dir()}
    sources["packages"] = Path(os.environ.get("UV_CACHE_DIR") or cache / "packages")
    # Another disk, or files that are not ours to link to: then by name, or as copies.
    ways = ("--link", "--symbolic-link" if owner is None else "--reflink=auto")
    into.mkdir(parents=True)
    for name, source in sources.items():
        if not re.match(r"uv-|packages$|devcluster-|prometheus$", name):
            continue
        for way in ways:
            copy = ["cp", "--archive", way, "--no-target-directory", str(source), str(into / name)]
            if subprocess.run(copy, capture_output=True, check=False).returncode == 0:
                break
            shutil.rmtree(into / name, ignore_errors=True)
        else:
            raise AssertionError(f"{source} cannot be copied")
    # uv opens these for writing: they must not be ours.
    packages = into / "packages"
    for path in [*packages.iterdir(), *packages.glob("*/.*"), *packages.glob("*/CACHEDIR.TAG")]:
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
            os.chown(path, owner or -1, owner or -1)
    if owner is not None:
        subprocess.run(
            ["find", str(into), "-type", "d", "-exec", "chown", f"{owner}:{owner}", "{}", "+"],
            check=True,
        )


def repository(folder: Path) -> Path:
    """Make a bare repository of one commit: the working tree as it is now."""
    bare = folder / "stockpot.git"
    git = ("git", "-c", "user.name=docs", "-c", "user.email=docs@example.org")
    objects = call(*git, "rev-parse", "--path-format=absolute", "--git-path", "objects", cwd=ROOT)
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(bare)], check=True)
    # Nothing is written into the repository that we stand in.
    ours = {
        **os.environ,
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(bare / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }
    call(*git, "read-tree", "--empty", cwd=ROOT, env=ours)
    call(*git, "add", "--all", cwd=ROOT, env=ours)
    tree = call(*git, "write-tree", cwd=ROOT, env=ours)
    commit = call(*git, "commit-tree", tree, "-m", "As it is now", cwd=ROOT, env=ours)
    # What `add` found in the other repository's objects is packed into this one.
    packing = ("pack-objects", "--quiet", "--revs", str(bare / "objects/pack/pack"))
    call(*git, *packing, cwd=ROOT, env=ours, stdin=f"{commit}\n")
    call(*git, "update-ref", "refs/heads/main", commit, cwd=bare)
    return bare


def call(*command: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
