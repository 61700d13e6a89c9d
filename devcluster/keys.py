"""Who is who in one cluster: certificates, and a token for each of its programs.

Made once for a cluster, all or nothing.
"""

import csv
import os
import secrets
import shutil
import subprocess
from pathlib import Path

USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("stockpot:dns", ""),
}
"""Program: its user and its group."""


def make(folder: Path, *, programs: Path, names: list[str], node: str = "") -> None:
    """Make the keys of a cluster, unless they are there.

    Args:
        folder: Where to; holds all of them or does not exist.
        programs: Where `keys` is.
        names: Addresses and host names by which its servers are asked.
        node: The node's name, for its kubelet's token.
    """
    if folder.is_dir():
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    subprocess.run([str(programs / "keys"), str(part), *names], check=True)
    users = USERS | ({"kubelet": (f"system:node:{node}", "system:nodes")} if node else {})
    with (part / "tokens.csv").open("w", newline="") as file:
        os.fchmod(file.fileno(), 0o600)
        for key, (user, group) in users.items():
            csv.writer(file).writerow([secrets.token_urlsafe(24), user, key, group])
    part.rename(folder)


def token(folder: Path, program: str) -> str:
    """Read the token of a program, or of `admin`."""
    with (folder / "tokens.csv").open(newline="") as file:
        return next(row[0] for row in csv.reader(file) if row[2] == program)
