"""The built-in cluster, whole, on this machine: brought up, hurt, and taken away.

Needs root. It is a cluster of its own, beside any that runs.
"""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster import build, debian, forwarding, kubectl, node, objects, rooms, teardown
from devcluster.images import BASE
from devcluster.places import Places, places
from devcluster.problem import Problem

MISSING = [
    package.name for package in (*debian.TO_RUN, *debian.TO_MAKE_IMAGES) if not package.there()
]
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(os.geteuid() != 0, reason="the built-in cluster needs root"),
    pytest.mark.skipif(bool(MISSING), reason=f"packages are missing: {' '.join(MISSING)}"),
    pytest.mark.skipif(
        not all(part.bin.is_dir() for part in (build.control_plane(), build.runtime())),
        reason="the cluster's programs are not built: make devcluster-build",
    ),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Places]:
    """A cluster that runs. What a test hurts, the next `up` puts right."""
    of = places(f"test-{os.getpid()}")
    try:
        node.up(of)
        yield of
    finally:
        teardown.down(of)


def test_up_does_nothing_where_nothing_is_missing(cluster: Places) -> None:
    before = processes(cluster)

    node.up(cluster)

    assert processes(cluster) == before


def test_a_restricted_pod_runs_our_code_and_finds_the_store_by_name(cluster: Places) -> None:
    said = run_a_pod(
        cluster,
        "import stockpot.workload, urllib.request;"
        f"print(urllib.request.urlopen('{objects.ENDPOINT}/healthz').status)",
    )

    assert said.strip() == "200"


def test_a_pod_cannot_write_to_what_it_claims(cluster: Places) -> None:
    said = run_a_pod(
        cluster,
        "import pathlib\n"
        "try: pathlib.Path('/opt/stockpot/src/new').write_text('')\n"
        "except OSError as error: print(error.strerror)",
    )

    assert said.strip() == "Read-only file system"


@pytest.mark.parametrize("program", ["kubelet", "containerd", "etcd", "kube-apiserver"])
def test_what_was_killed_is_started_again_and_pods_live_on(cluster: Places, program: str) -> None:
    store = store_process(cluster)
    rooms.kill(cluster, program)

    node.up(cluster)

    assert node.is_up(cluster)
    assert store_process(cluster) == store


def test_a_person_reaches_a_service_on_127_0_0_1(cluster: Places) -> None:
    port = forwarding.forward(cluster, f"{objects.STORE}/seaweedfs:s3", 0)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
        assert answer.status == 200


def test_a_port_that_is_taken_is_named(cluster: Places) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(Problem, match=f"port {port} of 127.0.0.1 is taken"):
            forwarding.forward(cluster, f"{objects.STORE}/seaweedfs:s3", port)


def test_a_service_that_is_not_there_is_named(cluster: Places) -> None:
    with pytest.raises(Problem, match="there is no Service 'nobody' in the namespace 'studio'"):
        forwarding.require_service(node.api(cluster), "studio/nobody:80")


def test_nothing_is_left_when_everything_was_killed_first() -> None:
    of = places(f"test-{os.getpid()}-x")
    rooms.make_network(of)
    of.state.mkdir(parents=True)
    rooms.make_files(of)
    for pid in rooms.group(of).pids():
        os.kill(pid, signal.SIGKILL)

    teardown.down(of)

    networks = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert of.network not in networks
    assert not rooms.group(of).below()
    assert not of.state.exists()
    assert str(of.state) not in Path("/proc/mounts").read_text()


def processes(of: Places) -> dict[str, set[int]]:
    return {program: rooms.itself(of, program) for program in node.PROGRAMS}


def store_process(of: Places) -> set[int]:
    """The store's own, which is not its sandbox's."""
    pids = rooms.group(of, "pods").pids()
    return {pid for pid in pids if "weed" in Path(f"/proc/{pid}/cmdline").read_text()}


def run_a_pod(of: Places, program: str) -> str:
    """Run a program as our workloads run, and give what it says."""
    name, inside = "tried", f"--namespace={objects.STUDIO}"
    kubectl.kubectl(of, "delete", "pod", name, inside, "--ignore-not-found", "--wait")
    kubectl.apply(of, [a_pod(name, program)])
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl.kubectl(of, "wait", f"pod/{name}", inside, ended, "--timeout=120s")
    return kubectl.kubectl(of, "logs", name, inside)


def a_pod(name: str, program: str) -> objects.Object:
    claim = {"claimName": node.CODE_CLAIM, "readOnly": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": objects.STUDIO},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": objects.UID,
                "fsGroup": objects.UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "only",
                    "image": BASE,
                    "command": ["python", "-c", program],
                    "env": [
                        {"name": "PYTHONPATH", "value": "/opt/stockpot/src:/opt/stockpot/site"}
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "code", "mountPath": "/opt/stockpot", "readOnly": True},
                    ],
                }
            ],
            "volumes": [{"name": "code", "persistentVolumeClaim": claim}],
        },
    }
