"""Lets a person, a browser or a test on this machine reach what is in the cluster's network.

A forwarder listens on 127.0.0.1, then steps into the cluster's network and answers from there. It
is a program of the cluster like any other: recorded by its cgroup, and ended by `down`.
"""

import json
import socket
import sys
from pathlib import Path

from devcluster import cgroup_namespaces
from devcluster.api import Api
from devcluster.places import REPOSITORY, Places
from devcluster.problem import Problem

API = "api"


def forward(places: Places, target: str, port: int, *, name: str = "") -> int:
    """Start a forwarder, unless it runs.

    Args:
        places: The cluster's.
        target: `namespace/service:port`, the port by number or name; or `address:port`.
        port: Where to listen on 127.0.0.1; 0 for any.
        name: What it is known by; its port when empty.

    Returns:
        The port.

    Raises:
        Problem: Somebody else listens there.
    """
    for key, (was, at) in known(places).items():
        if was == target and port in (0, at) and cgroup_namespaces.runs(places, f"forward-{key}"):
            return at
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise Problem(
                f"port {port} of 127.0.0.1 is taken: {error.strerror}", help="name another port"
            ) from error
        listening.listen(128)
        port = int(listening.getsockname()[1])
        name = name or str(port)
        cgroup_namespaces.group(places, f"forward-{name}").end()
        places.forwards.mkdir(parents=True, exist_ok=True)
        record = places.forwards / f"{name}.json"
        record.with_suffix(".part").write_text(json.dumps([target, port]))
        record.with_suffix(".part").rename(record)
        cgroup_namespaces.launch(
            places,
            f"forward-{name}",
            [
                *(sys.executable, "-m", "devcluster.forwarder", str(listening.fileno())),
                *(target, places.network_file, places.keys),
            ],
            environment={"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            pass_fds=[listening.fileno()],
        )
    return port


def require_service(server: Api, target: str) -> None:
    """See that there is such a Service, so that a slip of the pen is not a forwarder to nobody.

    Raises:
        Problem: There is not, or it has no such port.
    """
    service, _, port = target.rpartition(":")
    namespace, _, name = service.rpartition("/")
    listed = server.get(f"/api/v1/namespaces/{namespace}/services/{name}") if namespace else None
    if listed is None:
        raise Problem(
            f"there is no Service {name or target!r} in the namespace {namespace!r}",
            help="name it as NAMESPACE/SERVICE:PORT; `bin/kubectl get services -A` lists them",
        )
    ports = [
        spec for spec in listed["spec"]["ports"] if port in (str(spec["port"]), spec.get("name"))
    ]
    if not ports:
        known = ", ".join(str(spec["port"]) for spec in listed["spec"]["ports"])
        raise Problem(f"the Service {service} has no port {port}", help=f"it has {known}")


def restart(places: Places) -> None:
    """Start those again that are recorded and do not run. One whose port is taken is forgotten."""
    for name, (target, port) in known(places).items():
        if cgroup_namespaces.runs(places, f"forward-{name}"):
            continue
        try:
            forward(places, target, port, name=name)
        except Problem:
            if name != API:
                (places.forwards / f"{name}.json").unlink(missing_ok=True)
            else:
                forward(places, target, 0, name=name)


def known(places: Places) -> dict[str, tuple[str, int]]:
    """Give the recorded forwarders by name: their targets and ports."""
    forwards = {}
    for record in sorted(Path(places.forwards).glob("*.json")):
        target, port = json.loads(record.read_text())
        forwards[record.stem] = (str(target), int(port))
    return forwards
