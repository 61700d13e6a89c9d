"""A process as a restricted pod has it, without a cluster: the kernel's namespaces alone.

The user is a number that /etc/passwd does not know, the root is read-only, and what may be
written is mounted by itself. Works for root and, where the kernel lets them, for anybody.
"""

import subprocess
from functools import cache
from pathlib import Path

import pytest

UID = 54321
ENTER = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
"""Root of namespaces of our own, where mounting is seen by nobody else."""
_CONFINE = (
    'user=$1 writable=$2; shift 2; for one in $writable; do mount --bind "$one" "$one"; done; '
    'mount -o remount,bind,ro / && exec unshare --user --map-user="$user" --map-group="$user" "$@"'
)


@cache
def _refusal() -> str:
    """Why the kernel lets us make no namespaces; empty where it does."""
    try:
        tried = subprocess.run([*ENTER, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return tried.stderr if tried.returncode else ""


def require_namespaces() -> None:
    """Skip a test where there cannot be any."""
    if why := _refusal():
        pytest.skip(f"this machine lets us make no namespaces: {why}")


def confined(*command: str | Path, writable: tuple[Path, ...]) -> list[str]:
    """Make the command that runs another one as a restricted pod would.

    Args:
        command: What to run; it can write nothing but the next.
        writable: Files and folders, without spaces in their paths.
    """
    places = " ".join(map(str, writable))
    return [*ENTER, "sh", "-c", _CONFINE, "sh", str(UID), places, *map(str, command)]
