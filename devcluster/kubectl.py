"""kubectl, from inside the cluster's network; and the links in bin/ by which a person runs it."""

import os
import shlex
import subprocess
from pathlib import Path

from devcluster import build, rooms
from devcluster.objects import Object, as_list
from devcluster.places import REPOSITORY, Places
from devcluster.problem import Problem

BIN = REPOSITORY / "bin"
LINKS = ("kubectl", "helm")


def kubectl(places: Places, *arguments: str, said: str | None = None) -> str:
    """Run kubectl and give what it says.

    Args:
        places: The cluster's.
        arguments: kubectl's.
        said: Its standard input.

    Raises:
        Problem: It failed.
    """
    program = build.built(build.control_plane()) / "kubectl"
    command = ["nsenter", *rooms.network(places), "--", str(program)]
    ended = subprocess.run(
        [*command, f"--kubeconfig={places.inner_kubeconfig}", *arguments],
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise Problem(f"`kubectl {' '.join(arguments[:4])}` failed", help=ended.stderr.strip())
    return ended.stdout


def apply(places: Places, objects: list[Object]) -> None:
    """Have objects in the cluster as they are written here."""
    options = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=devcluster",
        "-f",
        "-",
    ]
    kubectl(places, *options, said=as_list(objects))


def write_links(places: Places) -> None:
    """Write bin/kubectl and bin/helm, which reach this cluster from anywhere on the machine."""
    programs = build.built(build.control_plane())
    entering = shlex.join(["nsenter", *rooms.network(places), "--"])
    BIN.mkdir(exist_ok=True)
    for name in LINKS:
        part = BIN / f".{name}.part"
        part.write_text(
            "#!/bin/sh\n"
            f"# Made by `python -m devcluster up`, for the cluster {places.name}.\n"
            f"export KUBECONFIG={shlex.quote(str(places.inner_kubeconfig))}\n"
            f'exec {entering} {shlex.quote(str(programs / name))} "$@"\n'
        )
        part.chmod(0o755)
        os.replace(part, BIN / name)


def remove_links(places: Places) -> None:
    """Remove those links that reach this cluster, and bin/ when nothing is left in it."""
    for name in LINKS:
        link = Path(BIN / name)
        if link.is_file() and str(places.inner_kubeconfig) in link.read_text():
            link.unlink()
    if BIN.is_dir() and not any(BIN.iterdir()):
        BIN.rmdir()
