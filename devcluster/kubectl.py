"""kubectl, from inside the cluster's network; and the links in bin/ by which a person runs it."""

import shlex
import subprocess
from pathlib import Path

from devcluster import build, cgroup_namespaces
from devcluster.objects import Object, as_list
from devcluster.places import DEFAULT_NAME, REPOSITORY, Places
from devcluster.problem import Problem

BIN = REPOSITORY / "bin"
LINKS = ("kubectl", "helm")


def kubectl(places: Places, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and give what it says.

    Args:
        places: The cluster's.
        arguments: kubectl's.
        stdin: Its standard input.

    Raises:
        Problem: It failed.
    """
    program = build.built(build.control_plane()) / "kubectl"
    command = ["nsenter", *cgroup_namespaces.network(places), "--", str(program)]
    ended = subprocess.run(
        [*command, f"--kubeconfig={places.inner_kubeconfig}", *arguments],
        input=stdin,
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
    kubectl(places, *options, stdin=as_list(objects))


def write_links(places: Places) -> None:
    """Write kubectl and helm for this cluster, and those in bin/, which reach the one of a name."""
    programs = build.built(build.control_plane())
    own = places.state / "bin"
    for folder, name in ((own, places.name), (BIN, f"${{DEVCLUSTER:-{DEFAULT_NAME}}}")):
        folder.mkdir(exist_ok=True)
        for link in LINKS:
            _replace(folder / link, _link(places, name, programs / link))


def _link(places: Places, name: str, program: Path) -> str:
    """Write a link as a shell script: `name` may be the shell's to fill in."""
    state, network = places.inner_kubeconfig, places.network_file
    config = f"{state.parent.parent}/{name}/{state.name}"
    namespace = f"{network.parent}/{network.name.removesuffix(places.name)}{name}"
    return (
        "#!/bin/sh\n"
        "# Made by `python -m devcluster up`.\n"
        f'export KUBECONFIG="{config}"\n'
        f'exec nsenter --net="{namespace}" -- {shlex.quote(str(program))} "$@"\n'
    )


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.chmod(0o755)
    part.rename(path)


def remove_links(places: Places) -> None:
    """Remove bin/'s, unless another cluster is there to be reached."""
    if any(other != places.state for other in places.state.parent.glob("*/")):
        return
    for link in LINKS:
        (BIN / link).unlink(missing_ok=True)
    if BIN.is_dir() and not any(BIN.iterdir()):
        BIN.rmdir()
