"""containerd, and the images in it: what pods of the cluster are run by, and run."""

import subprocess
from pathlib import Path

from devcluster import build, cgroup_namespaces, code, debian, images, settings
from devcluster.api import wait_until
from devcluster.places import Places, write
from devcluster.problem import Problem

READY_WITHIN_S = 180.0


def start(places: Places, made: list[images.Image]) -> None:
    """Have the cluster's view of the files, the code in it, containerd, and the images in that."""
    runtime = build.built(build.runtime())
    cgroup_namespaces.make_files(places)
    network = places.state / "network"
    network.mkdir(exist_ok=True)
    write(network / "stockpot.conflist", settings.pod_network())
    config = places.state / "containerd.toml"
    write(config, settings.containerd(runtime, network))
    cgroup_namespaces.launch(
        places,
        "containerd",
        [runtime / "containerd", "--config", config, "--log-level", "warn"],
        namespaces=cgroup_namespaces.both(places),
        environment={"PATH": f"{runtime}:{debian.SEARCHED}"},
    )
    wait_until(
        lambda: _ctr(places, "version").returncode == 0,
        "containerd answers",
        within_s=READY_WITHIN_S,
        alive=cgroup_namespaces.alive(places, "containerd"),
    )
    there = _ctr(places, "images", "list", "--quiet").stdout.split()
    for image in made:
        if image.name in there:
            continue
        load(places, image.archive)
    code.refresh(places)


def load(places: Places, archive: Path) -> str:
    """Let pods run the images of an archive (OCI's, or docker save's).

    Returns:
        What was loaded.

    Raises:
        Problem: It is no such archive, or the cluster does not run.
    """
    ended = _ctr(places, "images", "import", "--local", str(archive.resolve()))
    if ended.returncode:
        raise Problem(
            f"{archive} cannot be unpacked", help=ended.stderr.strip().rpartition("\n")[2]
        )
    return ended.stdout.strip()


def _ctr(places: Places, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = build.built(build.runtime()) / "ctr"
    command = ["nsenter", *cgroup_namespaces.both(places), "--", str(program), "--namespace=k8s.io"]
    return subprocess.run(
        [*command, f"--address={settings.SOCKET}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
