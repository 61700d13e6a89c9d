"""How many threads this process may keep busy: what its container was given, not what is there."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Count the cores that this process may use, at least 1.

    The smallest of: the cores it may run on, and the CPU limit of its cgroup, rounded up. More
    threads than that would only wait for each other, throttled together.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _limit(cgroup) or 1 << 30))


def _limit(cgroup: Path) -> int | None:
    try:  # Version 2.
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        limit = math.ceil(int(quota) / int(period))
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return limit if limit > 0 else None
