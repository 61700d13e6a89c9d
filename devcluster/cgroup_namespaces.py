"""A cluster's processes: their cgroups, network namespace and mount namespace.

The network namespace has a name, so that `ip netns` and `nsenter` find it. The mount namespace has
none: it is wherever the cluster's processes are, and whatever was mounted in it is gone with the
last of them. In it /run, /var/lib and /var/log are the cluster's own, so that containerd and
kubelet leave nothing on the machine, whatever happens to them.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from devcluster.cgroups import Group
from devcluster.places import Places
from devcluster.problem import Problem

ADDRESS = "10.99.0.1"
"""The node's, in every cluster: each has a network of its own."""
WITHIN_S = 30.0
POLL_S = 0.01
CONTAINERD = "containerd"

JOIN = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; n=$((n-1)); done'
HOLDER = """
set -e
mount --make-rshared /
mount --bind "$1/var-lib" /var/lib
mount --bind "$1/var-log" /var/log
mount -t tmpfs -o mode=755 stockpot-run /run
exec sleep infinity
"""


def group(places: Places, program: str = "") -> Group:
    """Give the cgroup of a program, or of the whole cluster."""
    return Group(f"{places.network}/{program}" if program else places.network)


def launch(
    places: Places,
    program: str,
    command: Sequence[str | Path],
    *,
    namespaces: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> bool:
    """Start a program of the cluster, unless it runs.

    Args:
        places: The cluster's.
        program: Its name: of its cgroup and its log.
        command: What it becomes.
        namespaces: The options of `nsenter` that enter them.
        environment: Added to ours.
        pass_fds: Open files that it gets.

    Returns:
        Whether it was started now.
    """
    if runs(places, program):
        return False
    folders = [str(folder) for folder in group(places, program).make()]
    entering = ["nsenter", *namespaces, "--"] if namespaces else []
    joining = ["sh", "-c", f'{JOIN}; "$@" &', "sh", str(len(folders)), *folders]
    places.logs.mkdir(parents=True, exist_ok=True)
    with (places.logs / f"{program}.log").open("ab") as log:
        # It is nobody's child: whoever starts it may end, or live on without ever asking after it.
        subprocess.run(
            [*joining, *entering, *(str(part) for part in command)],
            cwd="/",
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
            check=True,
        )
    while group(places, program).alive() and not runs(places, program):
        time.sleep(POLL_S)
    return True


def itself(places: Places, program: str) -> set[int]:
    """Give the process that is the program, and none that it started: shims outlive containerd.

    What it started has a parent here. A shim has none, but another name.
    """
    pids = group(places, program).pids()
    ours = {pid for pid in pids if _parent(pid) not in pids}
    return {pid for pid in ours if program != CONTAINERD or _comm(pid) == CONTAINERD}


def runs(places: Places, program: str) -> bool:
    """Whether a program runs."""
    return bool(itself(places, program))


def alive(places: Places, *programs: str) -> Callable[[], None]:
    """Give a check that raises a Problem, with the last words of the program that ended."""

    def check() -> None:
        for program in programs:
            if not runs(places, program):
                log = places.logs / f"{program}.log"
                words = log.read_text(errors="replace").splitlines()[-10:]
                raise Problem(f"{program} ended", help="\n".join([f"{log} ends with:", *words]))

    return check


def kill(places: Places, program: str) -> None:
    """Kill a program, and nothing that it started."""
    for pid in itself(places, program):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while runs(places, program):
        time.sleep(POLL_S)


def _parent(pid: int) -> int:
    """Give its parent, or 0 where it has ended meanwhile."""
    with suppress(OSError):
        # The name is in parentheses, and may have any character; after it: state, parent.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _comm(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def network(places: Places) -> list[str]:
    """Say how to enter the cluster's network."""
    return [f"--net={places.network_file}"]


def both(places: Places) -> list[str]:
    """Say how to enter the cluster's network and its view of the files.

    Raises:
        Problem: Nobody is in there.
    """
    for program in ("files", "containerd", "kubelet"):
        for pid in sorted(group(places, program).pids()):
            if _sees_our_files(pid):
                return [f"--mount=/proc/{pid}/ns/mnt", *network(places)]
    raise Problem(f"the cluster {places.name} does not run", help="start it: make cluster")


def _sees_our_files(pid: int) -> bool:
    """Whether all is mounted there: /run comes last. A container's process sees its own files."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[4] == "/run" and " stockpot-run " in line for line in lines)


def make_network(places: Places) -> None:
    """Make the network, or what is missing of it."""
    if not _has_network(places):
        _ip("netns", "add", places.network)
    inside = ["-n", places.network]
    if subprocess.run(
        ["ip", *inside, "link", "show", "node0"], capture_output=True, check=False
    ).returncode:
        # Both ends are inside: a dummy device is not in every kernel.
        _ip(*inside, "link", "add", "node0", "type", "veth", "peer", "name", "node1")
    _ip(*inside, "address", "replace", f"{ADDRESS}/24", "dev", "node0")
    for device in ("lo", "node0", "node1"):
        _ip(*inside, "link", "set", device, "up")
    # The kubelet takes the address of the default route for the node's.
    _ip(*inside, "route", "replace", "default", "dev", "node0")
    subprocess.run(
        ["nsenter", *network(places), "--", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"],
        check=True,
    )


def _has_network(places: Places) -> bool:
    """Whether the name stands for a network: after a crash it may be an empty file."""
    if not places.network_file.exists():
        return False
    if subprocess.run(
        ["nsenter", *network(places), "--", "true"], capture_output=True, check=False
    ).returncode:
        places.network_file.unlink()
        return False
    return True


def remove_network(places: Places) -> None:
    """Remove the network, with its devices and tables."""
    if _has_network(places):
        _ip("netns", "delete", places.network)


def make_files(places: Places) -> None:
    """Make the cluster's view of the files, unless somebody is in it."""
    try:
        both(places)
    except Problem:
        group(places, "files").end()  # it died while it was mounting
    else:
        return
    for name in ("var-lib", "var-log"):
        (places.state / name).mkdir(parents=True, exist_ok=True)
    holder = ["unshare", "--mount", "--propagation=slave"]
    launch(places, "files", [*holder, "sh", "-c", HOLDER, "sh", str(places.state)])
    deadline_s = time.monotonic() + WITHIN_S
    while not any(_sees_our_files(pid) for pid in group(places, "files").pids()):
        if not group(places, "files").alive() or time.monotonic() > deadline_s:
            log_tail = (places.logs / "files.log").read_text(errors="replace")[-1000:]
            raise Problem("the cluster's own /run, /var/lib and /var/log failed", help=log_tail)
        time.sleep(POLL_S)


def _ip(*arguments: str) -> None:
    ended = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Problem(f"`ip {' '.join(arguments)}` failed: {ended.stderr.strip()}")
