"""How many threads a worker may use: what its container's CPU limit allows, else one.

`os.cpu_count()` sees the whole machine. Torch would start as many threads, the kernel would take
them off the few cores that the limit leaves, and each of oneDNN's barriers would wait for the last
of them: a step was seen to cost ten times as much on two contended threads as on one.
"""

from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def threads_allowed(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Say how many whole CPUs this process may use at once; at least 1, and 1 without a limit.

    Without a limit other workers share the machine, one thread each: that is how shards train side
    by side on a laptop.

    Args:
        proc: Which cgroups this process is in, as in `/proc/self/cgroup`.
        cgroups: Where the cgroup file system is mounted, version 1 or 2.
    """
    limits = [cpus for folder in _folders(proc, cgroups) if (cpus := _limit(folder)) is not None]
    return max(1, int(min(limits, default=1.0)))


def _folders(proc: Path, cgroups: Path) -> list[Path]:
    """The folders whose limits hold: our own group and all above it, of either version."""
    # In a container the namespace's root is our own group, so the mount itself comes first.
    found = [cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"]
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / "cpu" if controllers else cgroups
        parts = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath()
        if ".." not in parts.parts:
            found += [mount / part for part in (parts, *parts.parents)]
    return found


def _limit(folder: Path) -> float | None:
    """The CPUs that one group may use, or None where it says nothing."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota == "max" or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)
