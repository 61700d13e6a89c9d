"""What would stop a cluster later, asked before anything is done: one sentence each."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from devcluster import cgroups, images
from devcluster.places import Places, cache
from devcluster.problem import INSTEAD, Problem


def may_run(places: Places) -> None:
    """See that a cluster can run here.

    Raises:
        Problem: It cannot.
    """
    if platform.system() != "Linux":
        raise Problem(
            f"the built-in cluster runs on Linux, and this is {platform.system()}", help=INSTEAD
        )
    if os.geteuid() != 0:
        raise Problem(
            "the built-in cluster needs root: it makes network namespaces, mounts and cgroups",
            help=f"run it as root; or {INSTEAD}",
        )
    cgroups.may_make()
    overlay()
    for folder in (places.state, cache()):
        room(folder, images.NEEDED_BYTES)


def may_end() -> None:
    """See that a cluster can be ended by us.

    Raises:
        Problem: It cannot.
    """
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise Problem("a cluster was made by root, and only root can take it away", help="")


def overlay() -> None:
    """See that containers can have a file system, loading its module where it is one."""
    if "\toverlay\n" in Path("/proc/filesystems").read_text():
        return
    subprocess.run(["modprobe", "-q", "overlay"], check=False)
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        raise Problem("this kernel has no overlay file system, and containers need it")


def room(folder: Path, needed_bytes: int) -> None:
    """See that there is room.

    Raises:
        Problem: There is not.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < needed_bytes:
        raise Problem(
            f"a cluster needs {needed_bytes / (1 << 30):.0f} GB in {folder}, and there are "
            f"{free_bytes / (1 << 30):.1f} GB free",
            help=f"make room, or set XDG_STATE_HOME and XDG_CACHE_HOME; or {INSTEAD}",
        )
