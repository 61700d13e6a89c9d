"""How many CPUs this process may use: the CPU limit of its container, not the machine's cores.

`os.cpu_count()` sees the whole machine. More threads than the limit allows are throttled together
and wait for each other: with torch, a step took ten times as long on two contended threads as on
one, because each of oneDNN's barriers waits for the last thread.
"""

import math
import os
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def cpu_limit(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """Read the CPU limit of this process's cgroup and of all above it, in CPUs.

    Args:
        proc: Which cgroups this process is in, as in `/proc/self/cgroup`.
        cgroups: Where the cgroup file system is mounted, version 1 or 2.

    Returns:
        The smallest limit, above 0; None where none is set.
    """
    limits = (_limit(folder) for folder in _folders(proc, cgroups))
    return min((limit for limit in limits if limit is not None), default=None)


def cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Count the cores that this process may use, at least 1.

    The smaller of its CPU affinity and its CPU limit, rounded up.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = cpu_limit(proc, cgroups)
    return max(1, min(allowed or 1, math.ceil(limit) if limit is not None else 1 << 30))


def _folders(proc: Path, cgroups: Path) -> list[Path]:
    """List the folders whose limits hold: our own group and all above it, of either version."""
    # In a container the namespace's root is our own group, so the mount itself comes first.
    folders = [cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"]
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / "cpu" if controllers else cgroups
        group = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath()
        if ".." not in group.parts:
            folders += [mount / ancestor for ancestor in (group, *group.parents)]
    return folders


def _limit(folder: Path) -> float | None:
    """Read the CPUs that one group may use; None where it sets no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return limit if limit > 0 else None
