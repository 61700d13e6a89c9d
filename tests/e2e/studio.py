"""A real node with Stockpot and tiny soups in it, as the tests of this folder share it.

Every soup has a name and shards of its own, so that one test's soup is nobody else's.
"""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import (
    build,
    cgroup_namespaces,
    debian,
    forwarding,
    node,
    objects,
    teardown,
    volumes,
)
from devcluster.places import REPOSITORY, Places, places
from tests import tiny

from stockpot.api.reading import read_lenient
from stockpot.api.v1alpha1 import DataShard, Soup, UnlearningReceipt
from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    JOBS,
    NAMESPACES,
    PODS,
    SERVICES,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)

NAMESPACE, SYSTEM = objects.STUDIO, objects.SYSTEM
VALUES = REPOSITORY / "examples/emoji/cluster/builtin.yaml"
CLAIM = "tiny"
PATIENCE_S = 240.0
LOOK_S = 0.25
STEPS = 6
MISSING = [
    package.name for package in (*debian.TO_RUN, *debian.TO_MAKE_IMAGES) if not package.there()
]
WHY_NOT = (
    "needs root"
    if os.geteuid() != 0
    else f"packages are missing: {' '.join(MISSING)}"
    if MISSING
    else "the cluster's programs are not built: make devcluster-build"
    if not all(part.bin.is_dir() for part in (build.control_plane(), build.runtime()))
    else ""
)


def kind_of(resource: Resource, thing: Json) -> Any:
    return read_lenient({"apiVersion": resource.api_version, "kind": resource.kind, **thing})


@dataclass(frozen=True)
class Answer:
    """What a server drew, and from which weights."""

    status: int
    weights: str


class Studio:
    """The node, from `up` to `down`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.places: Places = places(name)
        self.folder = folder

    def up(self) -> None:
        """Bring the node up, with a base and data that pods can claim, and install the chart."""
        tiny.a_base(self.folder / "base")
        for seed, name in enumerate(("one", "two", "three", "heldout")):
            tiny.some_data(self.folder / "data" / name, n=8, seed=seed)
        for path in self.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # transformers writes for one user alone
        node.up(self.places)
        volumes.claim(self.places, NAMESPACE, CLAIM, self.folder)
        self.client: Client = connect(kubeconfig=self.places.kubeconfig)
        self.helm("install", "stockpot", "charts/stockpot", "-n", SYSTEM, "-f", str(VALUES))
        rollout = ("rollout", "status", "deployment/stockpot-operator", "--timeout=120s")
        self.kubectl("-n", SYSTEM, *rollout)

    def down(self) -> None:
        teardown.down(self.places)

    # ------------------------------------------------------------------------------ what is asked

    def kubectl(self, *words: str, manifest: Json | None = None) -> str:
        return self._run("kubectl", *words, manifest=manifest)

    def helm(self, *words: str) -> str:
        return self._run("helm", *words)

    def _run(self, program: str, *words: str, manifest: Json | None = None) -> str:
        done = subprocess.run(
            [str(build.built(build.control_plane()) / program), *words],
            input=json.dumps(manifest) if manifest else None,
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, "KUBECONFIG": str(self.places.kubeconfig)},
        )
        assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(
        self,
        soup: str,
        *shards: str,
        steps: int = STEPS,
        every: int = 2,
        measured: bool = False,
        namespace: str = NAMESPACE,
    ) -> None:
        """Apply a soup and shards; each is called by the soup's name and its own."""

        def source(path: str) -> Json:
            return {"pvc": {"claimName": CLAIM, "path": path}}

        training = {
            "maxTrainSteps": steps,
            "trainBatchSize": 4,
            "resolution": tiny.RESOLUTION,
            "snrGamma": "5",
            "checkpointingSteps": every,
            "optimizer": {"options": {"learningRate": "1e-3"}},
        }
        spec: Json = {
            "base": source("base"),
            "training": training,
            "membership": {"settleSeconds": 0, "minShards": 1},
        }
        if measured:
            suite = [{"name": "heldout_loss"}]
            spec |= {"evaluation": {"source": source("data/heldout"), "suite": suite}}
        items = [self._object("Soup", soup, spec, namespace)]
        for shard in shards:
            shard_spec = {"soupRef": {"name": soup}, "source": source(f"data/{shard}")}
            items.append(self._object("DataShard", f"{soup}-{shard}", shard_spec, namespace))
        self.kubectl(
            "apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items}
        )

    @staticmethod
    def _object(kind: str, name: str, spec: Json, namespace: str) -> Json:
        about = {"name": name, "namespace": namespace}
        return {
            "apiVersion": "stockpot.dev/v1alpha1",
            "kind": kind,
            "metadata": about,
            "spec": spec,
        }

    # ------------------------------------------------------------------------------ what is there

    def soup(self, name: str) -> Soup:
        current = kind_of(SOUPS, self.client.get(SOUPS, NAMESPACE, name))
        assert isinstance(current, Soup)
        return current

    def shard(self, name: str) -> DataShard | None:
        current = self.client.find(DATA_SHARDS, NAMESPACE, name)
        return kind_of(DATA_SHARDS, current) if current else None

    def receipts(self, soup_uid: str) -> list[UnlearningReceipt]:
        items = self.client.list(UNLEARNING_RECEIPTS, NAMESPACE).items
        known = [kind_of(UNLEARNING_RECEIPTS, item) for item in items]
        return [receipt for receipt in known if receipt.spec.soup_ref.uid == soup_uid]

    def jobs(self, soup: str, verb: str = "") -> list[Json]:
        selector = f"stockpot.dev/soup={soup}"
        if verb:
            selector += f",app.kubernetes.io/component={verb}"
        places = (NAMESPACE, SYSTEM)
        return [
            job
            for place in places
            for job in self.client.list(JOBS, place, label_selector=selector).items
        ]

    def pods(self, namespace: str, selector: str) -> list[Json]:
        items = self.client.list(PODS, namespace, label_selector=selector).items
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def current(self, soup: str) -> str:
        revision_name = self.soup(soup).status.current_revision
        return revision_name.weights_digest if revision_name else ""

    def is_made_of(self, soup: str, *shards: str) -> bool:
        """Whether it has exactly these, and all is done."""
        known = self.soup(soup)
        if known.status.observed_generation != known.metadata.generation:
            return False
        ours = [
            kind_of(DATA_SHARDS, item)
            for item in self.client.list(DATA_SHARDS, NAMESPACE).items
            if item["spec"]["soupRef"]["name"] == soup
        ]
        ready = all(is_ready(item) for item in (known, *ours))
        named = {our.metadata.name for our in ours} == {f"{soup}-{shard}" for shard in shards}
        return ready and named and known.status.shards.included == len(shards)

    # ------------------------------------------------------------------------------ what is done

    def until(self, done: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
        """Wait for something; where it does not come, say what there is."""
        deadline_s = time.monotonic() + within_s
        while not (result := done()):
            if time.monotonic() > deadline_s:
                raise AssertionError(f"not within {within_s:.0f} s: {what}\n{self.everything()}")
            time.sleep(LOOK_S)
        return result

    def settled(self, soup: str, *shards: str) -> str:
        """Wait until the soup is made of the shards; give the digest of its weights."""
        self.until(lambda: self.is_made_of(soup, *shards), f"{soup} is made of {shards}")
        return self.current(soup)

    def forget(self, soup: str, shard: str) -> float:
        """Delete a shard and wait until it is forgotten; give the seconds."""
        began_s = time.monotonic()
        self.kubectl("delete", "shard", f"{soup}-{shard}", "-n", NAMESPACE, "--timeout=240s")
        return time.monotonic() - began_s

    def leader(self) -> str:
        """The operator process that leads: its pod's name, `_`, and what no other process has."""
        lease = json.loads(
            self.kubectl("get", "lease", "stockpot-operator", "-n", SYSTEM, "-o=json")
        )
        holder: str = lease["spec"].get("holderIdentity") or ""
        return holder

    def kill_pod(self, namespace: str, name: str) -> None:
        """Kill a pod's process at once, as a crash does: the pod itself stays."""
        for pid in self._processes(namespace, name):
            os.kill(pid, 9)

    def _processes(self, namespace: str, name: str) -> Iterator[int]:
        pod = self.client.get(PODS, namespace, name)
        uid = pod["metadata"]["uid"]
        for pid in cgroup_namespaces.group(self.places, "pods").pids():
            try:
                groups = Path(f"/proc/{pid}/cgroup").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if uid in groups and command.startswith(b"python"):
                yield pid

    def url(self, soup: str) -> str:
        """Where this machine reaches its servers."""
        self.until(lambda: self.client.find(SERVICES, NAMESPACE, soup), f"{soup} has a Service")
        port = forwarding.forward(self.places, f"{NAMESPACE}/{soup}:http", 0)
        return f"http://127.0.0.1:{port}"

    @contextmanager
    def store(self) -> Iterator[str]:
        """The store's endpoint for this machine; credentials are in the environment meanwhile."""
        port = forwarding.forward(self.places, f"{objects.STORE}/seaweedfs:s3", 0)
        user, secret = objects.UNLEARN
        credentials = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": secret}
        before = {key: os.environ.get(key) for key in credentials}
        os.environ.update(credentials)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            for key, value in before.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value

    def everything(self) -> str:
        """What a person would look at."""
        logs = ("logs", "deployment/stockpot-operator", "--all-pods", "--tail=15")
        return "\n".join(
            (
                self.kubectl("get", "pods,jobs,shards,soups,receipts", "-A", "-o=wide"),
                self.kubectl("events", "-n", NAMESPACE),
                self.kubectl("-n", SYSTEM, *logs),
            )
        )


def is_ready(thing: DataShard | Soup) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True"
        for condition in thing.status.conditions
    )


def ask(url: str, seed: int = 1) -> Answer:
    """Ask for a picture."""
    body = json.dumps({"prompt": "a red circle", "seed": seed, "response_format": "b64_json"})
    request = urllib.request.Request(
        f"{url}/v1/images/generations", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            document = json.loads(answer.read())
            return Answer(answer.status, document["revision"]["weights_digest"])
    except urllib.error.HTTPError as error:
        return Answer(error.code, "")
    except OSError:
        return Answer(0, "")


def attempts(jobs: Sequence[Json]) -> dict[str, int]:
    """The highest attempt of each run: a Job's name ends with its number."""
    counts: dict[str, int] = {}
    for job in jobs:
        name, _, number = job["metadata"]["name"].rpartition("-")
        if re.fullmatch(r"[0-9]+", number):
            counts[name] = max(counts.get(name, 0), int(number))
    return counts


def namespace_is_gone(client: Client, name: str) -> bool:
    return client.find(NAMESPACES, None, name) is None
