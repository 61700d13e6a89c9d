"""Folders of this machine that pods can claim, read-only.

Each is mounted read-only once, in the cluster's view of the files, and the volume is that mount:
so that no pod can write there, and no fsGroup of one can change the owners of a person's files.
"""

import json
import subprocess
from pathlib import Path

from devcluster import cgroup_namespaces, objects
from devcluster.kubectl import apply
from devcluster.places import Places
from devcluster.problem import Problem


def claim(places: Places, namespace: str, name: str, folder: Path) -> None:
    """Let pods of a namespace claim a folder.

    Args:
        places: The cluster's.
        namespace: Theirs; it must exist.
        name: The claim's.
        folder: What they read.

    Raises:
        Problem: The folder is not there, or the cluster does not run.
    """
    apply(places, show(places, namespace, name, folder))


def show(places: Places, namespace: str, name: str, folder: Path) -> list[objects.Object]:
    """Record a folder, mount it for the cluster, and give the objects by which it is claimed.

    Raises:
        Problem: The folder is not there, or the cluster does not run.
    """
    if not folder.is_dir():
        raise Problem(f"{folder} is no folder", help="a claim shows pods a folder of this machine")
    places.volumes.mkdir(parents=True, exist_ok=True)
    record = places.volumes / f"{namespace}.{name}.json"
    record.with_suffix(".part").write_text(json.dumps(str(folder.resolve())))
    record.with_suffix(".part").rename(record)
    mount(places, record)
    return objects.volume(namespace, name, str(places.mounts / record.stem))


def mount_all(places: Places) -> None:
    """Mount the recorded folders that are not mounted."""
    for record in sorted(places.volumes.glob("*.json")):
        mount(places, record)


def mount(places: Places, record: Path) -> None:
    """Mount a recorded folder, unless it is mounted."""
    source, target = json.loads(record.read_text()), places.mounts / record.stem
    target.mkdir(parents=True, exist_ok=True)
    entering = ["nsenter", *cgroup_namespaces.both(places), "--"]
    mounted = subprocess.run(
        [*entering, "findmnt", "--noheadings", "--output=MAJ:MIN,FSROOT", f"--mountpoint={target}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode == 0:
        wanted = Path(source).stat().st_ino
        shown = subprocess.run(
            [*entering, "stat", "--format=%i", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.stdout.strip() == str(wanted):
            return
        subprocess.run([*entering, "umount", "--lazy", str(target)], check=True)
    subprocess.run([*entering, "mount", "--bind", "-o", "ro", source, str(target)], check=True)
