"""Which processes are a cluster's: the kernel keeps the record, in a cgroup for each program.

A process joins its group before it becomes the program, and all that it starts is born there. So
no process is ever unrecorded, whichever of ours dies at whichever line, and no number that the
kernel has given to somebody else since is ever signalled.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster.problem import Problem

ROOT = Path("/sys/fs/cgroup")
GONE_WITHIN_S = 30.0
POLL_S = 0.02


def hierarchies() -> list[Path]:
    """Give the mount points of all cgroup hierarchies: one with version 2, a dozen with 1."""
    if (ROOT / "cgroup.controllers").is_file():
        return [ROOT]
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(line[1]) for line in lines if line[2] in ("cgroup", "cgroup2")]


def may_make() -> None:
    """See that we may make cgroups.

    Raises:
        Problem: There are none, or they are not ours to make.
    """
    folders = hierarchies()
    if not folders or not all(os.access(folder, os.W_OK) for folder in folders):
        raise Problem("this machine lets nobody make cgroups, and containers need them")


@dataclass(frozen=True)
class Group:
    """A cgroup by its path, the same in every hierarchy."""

    path: str
    """`stockpot-name`, or `stockpot-name/program`."""

    def make(self) -> list[Path]:
        """Make it, and give its folders."""
        folders = []
        for root in hierarchies():
            folder = root / self.path
            for level in (*reversed(folder.relative_to(root).parents[:-1]), Path(self.path)):
                (root / level).mkdir(exist_ok=True)
                _inherit(root / level)
            folders.append(folder)
        return folders

    def pids(self) -> set[int]:
        """Give the processes in it, and in all below."""
        pids: set[int] = set()
        for root in hierarchies():
            for folder, _, _ in os.walk(root / self.path):
                try:
                    pids |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
                except OSError:
                    continue  # gone between the two, and its processes with it
        return pids

    def alive(self) -> bool:
        """Whether anything runs in it."""
        return bool(self.pids())

    def below(self) -> list["Group"]:
        """Give the groups right below."""
        names = {
            entry.name
            for root in hierarchies()
            if (root / self.path).is_dir()
            for entry in (root / self.path).iterdir()
            if entry.is_dir()
        }
        return [Group(f"{self.path}/{name}") for name in sorted(names)]

    def end(self, *, patience_s: float = 0.0) -> None:
        """End all processes in it, politely for a while if they are given one.

        Raises:
            Problem: One does not end even when it is killed.
        """
        if patience_s:
            _signal(self.pids(), signal.SIGTERM)
            deadline_s = time.monotonic() + patience_s
            while self.alive() and time.monotonic() < deadline_s:
                time.sleep(POLL_S)
        deadline_s = time.monotonic() + GONE_WITHIN_S
        while pids := self.pids():
            _signal(pids, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                named = ", ".join(map(str, sorted(pids)))
                raise Problem(
                    f"processes {named} do not end, though they were killed",
                    help="they wait for the kernel: look at `ps -o pid,stat,wchan`, run it again",
                )
            time.sleep(POLL_S)

    def remove(self) -> None:
        """Remove it and all below, in every hierarchy. Nothing may run in it."""
        for root in hierarchies():
            for folder, _, _ in os.walk(root / self.path, topdown=False):
                _remove(Path(folder))


def _remove(folder: Path) -> None:
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # The last process is dead, and still being buried.
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)
        else:
            return


def _inherit(folder: Path) -> None:
    """Let the group have what its parent has: nothing is passed on without being told."""
    for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 lets no process in without
        value = folder / name
        if value.is_file() and not value.read_text().strip():
            value.write_text((folder.parent / name).read_text())
    if (ROOT / "cgroup.controllers").is_file():
        for controller in (folder.parent / "cgroup.controllers").read_text().split():
            # A controller that cannot be passed on is missed by the kubelet, which names it.
            with suppress(OSError):
                (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _signal(pids: set[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue
