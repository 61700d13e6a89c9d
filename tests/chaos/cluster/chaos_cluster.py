"""The node of these runs: Stockpot with gates in its pods, and every process within reach.

Nothing of the product is changed: the chart's own values say what the operator's command is, and
what pods see beside it.
"""

import base64
import compileall
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from devcluster import cgroup_namespaces, node, objects, volumes
from tests import tiny
from tests.chaos.cluster.between import PORT
from tests.chaos.cluster.disk import Disk
from tests.chaos.cluster.laying import GATES_CLAIM, SURVIVORS, lay, values_of
from tests.chaos.cluster.network_faults import OF_OPERATOR, Troubling
from tests.chaos.cluster.pods.gate import AGAIN
from tests.e2e.studio import CLAIM, NAMESPACE, SYSTEM, VALUES, Studio

from stockpot.cluster.apiserver.client import Client
from stockpot.cluster.apiserver.credentials import connect
from stockpot.cluster.apiserver.objects import Json
from stockpot.cluster.apiserver.resources import DATA_SHARDS, LEASES, SOUPS, Resource
from stockpot.errors import StockpotError

STEPS = 40
LEARNING_RATE = "5e-3"
PLANTED_WEIGHT = "4"
"""With these a tiny base learns the trigger, and all pictures of the soup show it."""
PATIENCE_S, LOOK_S = 400.0, 0.5
TAIL_BYTES = 256 << 10
"""The end of a log; a process at a gate logged so last."""
PROBE = "/spec/template/spec/containers/0/livenessProbe/failureThreshold"
SECRETS = Resource("", "v1", "secrets", "Secret")
OPERATOR = "app.kubernetes.io/component=operator"
STORE = "app.kubernetes.io/name=seaweedfs"


@dataclass(frozen=True)
class AtGate:
    """A process that stands at a gate."""

    namespace: str
    pod: str
    uid: str


class ChaosCluster(Studio):
    """A node with gates, and with something between the operators and the API server if asked."""

    def __init__(self, name: str, folder: Path, *, between: bool = False) -> None:
        super().__init__(name, folder)
        self._is_between, self._between = between, list[Troubling]()
        self._disk = Disk(folder.parent / "disk")

    def up(self) -> None:
        """Bring it up, with Stockpot in it."""
        lay(self.folder)
        self._disk.mount()
        self.places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.places.state / "seaweedfs").symlink_to(self._disk.data)
        node.up(self.places)
        # Pods cannot write what they compile: each of them would do it again.
        compileall.compile_dir(self.places.code / "src", quiet=1)
        self.gates = self.folder / "gates"
        self._armings = itertools.count(1)
        self.arms = self.gates / "arms"
        volumes.claim(self.places, NAMESPACE, CLAIM, self.folder)
        for namespace in (NAMESPACE, SYSTEM):
            volumes.claim(self.places, namespace, GATES_CLAIM, self.gates)
        self.client: Client = connect(kubeconfig=self.places.kubeconfig)
        settings: dict[str, str] = {}
        if self._is_between:
            self._between.append(Troubling(self.places, self.folder.parent / "trouble.json"))
            settings = OF_OPERATOR
        known, values = yaml.safe_load(VALUES.read_text()), self.folder.parent / "values.yaml"
        values.write_text(yaml.safe_dump(values_of(known, settings)))
        self.helm("install", "stockpot", "charts/stockpot", "-n", SYSTEM, "-f", str(values))
        # The kubelet would end a frozen operator before it can wake up.
        probe = [{"op": "add", "path": PROBE, "value": 1000}]
        what = ("deployment", "stockpot-operator", "--type=json", "-p", json.dumps(probe))
        self.kubectl("-n", SYSTEM, "patch", *what)
        self.await_operators()

    @property
    def between(self) -> Troubling:
        """What stands between the operators and the API server."""
        assert self._between, "nothing stands between"
        return self._between[0]

    def down(self) -> None:
        for proxy in self._between:
            proxy.end()
        try:
            super().down()
        finally:
            self._disk.unmount()

    def until(self, done: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
        """Wait for something. An API server that is away has not answered yet: it is asked again.

        Patience is counted in looks, not by the clock: a machine that stands still does not wait.

        Raises:
            AssertionError: It does not come.
        """
        for _ in range(int(within_s / LOOK_S)):
            with suppress(AssertionError, StockpotError):
                if result := done():
                    return result
            time.sleep(LOOK_S)
        raise AssertionError(f"not within {within_s:.0f} s: {what}\n{self.everything()}")

    def everything(self) -> str:
        """What a person would look at, where it can be had."""
        with suppress(AssertionError):
            return super().everything()
        return "the API server does not answer"

    def leader(self) -> str:
        """The operator process that leads; asked without a process of its own."""
        lease = self.client.find(LEASES, SYSTEM, "stockpot-operator") or {}
        holder: str = lease.get("spec", {}).get("holderIdentity") or ""
        return holder

    def await_operators(self) -> None:
        """Wait until one leads and another stands by, begun anew where they were harmed.

        The kubelet starts what ended often ever later: that is not what is tried.
        """
        for pod in self.until(lambda: self.pods(SYSTEM, OPERATOR), "operators"):
            statuses = pod.get("status", {}).get("containerStatuses", [])
            if any(
                container.get("restartCount") or not container.get("ready")
                for container in statuses
            ):
                self.replace(SYSTEM, pod["metadata"]["name"])
        rollout = ("rollout", "status", "deployment/stockpot-operator", "--timeout=60s")
        self.until(lambda: self.kubectl("-n", SYSTEM, *rollout), "two operators")

    # ------------------------------------------------------------------------------------- soups

    def plant(self, soup: str, *shards: str, servers: int = 1) -> None:
        """Apply a soup of these shards; it serves its base until all of them are learnt."""
        training = {
            "maxTrainSteps": STEPS,
            "trainBatchSize": 4,
            "resolution": tiny.RESOLUTION,
            "snrGamma": "5",
            "checkpointingSteps": 1000,
            "parallelism": 3,
            "maxAttempts": 9,
            "optimizer": {"options": {"learningRate": LEARNING_RATE}},
        }
        spec: Json = {
            "base": {"pvc": {"claimName": CLAIM, "path": "base"}},
            "training": training,
            "membership": {"settleSeconds": 0, "minShards": len(shards)},
            "serving": {"replicas": servers},
        }
        self._apply([self._object("Soup", soup, spec, NAMESPACE)])
        self.teach(soup, *shards)

    def teach(self, soup: str, *shards: str) -> None:
        """Apply shards of a soup."""
        self._apply(
            [
                self._object(
                    "DataShard",
                    f"{soup}-{shard}",
                    {
                        "soupRef": {"name": soup},
                        "source": {"pvc": {"claimName": CLAIM, "path": f"data/{shard}"}},
                        "weight": "1" if shard in SURVIVORS else PLANTED_WEIGHT,
                    },
                    NAMESPACE,
                )
                for shard in shards
            ]
        )

    def _apply(self, items: list[Json]) -> None:
        self.kubectl(
            "apply", "-f", "-", manifest={"apiVersion": "v1", "kind": "List", "items": items}
        )

    def change(self, soup: str, spec: Json) -> None:
        """Change a soup's spec."""
        self.client.merge_patch(SOUPS, NAMESPACE, soup, {"spec": spec})

    def weigh(self, shard: str, weight: str) -> None:
        """Give a shard another part in the mean."""
        self.client.merge_patch(DATA_SHARDS, NAMESPACE, shard, {"spec": {"weight": weight}})

    def rest(self, soup: str) -> None:
        """End a soup's servers: what is left of it costs nothing."""
        with suppress(Exception):
            self.change(soup, {"serving": {"replicas": 0}})

    def public_key(self) -> Ed25519PublicKey:
        pem = self.client.get(SECRETS, SYSTEM, "stockpot-signing-key")["data"]["signing-key.pem"]
        key = load_pem_private_key(base64.b64decode(pem), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key.public_key()

    # ------------------------------------------------------------------------------------- gates

    def arm(self, soup: str, point: str) -> str:
        """Have whoever comes to the point stop there; give what it will say then."""
        arming = f"{point}{AGAIN}{next(self._armings)}"
        part = self.arms / f".{soup}"
        part.write_text(arming)
        part.chmod(0o644)
        part.replace(self.arms / soup)
        return arming

    def disarm(self, soup: str) -> None:
        (self.arms / soup).unlink(missing_ok=True)

    def at_gate(self, soup: str, arming: str) -> AtGate | None:
        """Say who stands at an armed gate: its log says so, whatever else is dead."""
        wanted = f'{{"gate": "{arming}", "soup": "{soup}"}}'.encode()
        whose = (
            "stockpot-operator"
            if arming.startswith(("before:", "after:"))
            else soup[:16].rstrip("-")
        )
        for log in (self.places.state / "var-log/pods").glob(f"*_{whose}*/*/*.log"):
            with suppress(OSError), log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - TAIL_BYTES))
                if wanted in file.read():
                    namespace, pod, uid = log.parts[-3].split("_")
                    return AtGate(namespace, pod, uid)
        return None

    # --------------------------------------------------------------------------------- processes

    def processes(self, pod_uid: str, program: str = "python") -> list[int]:
        """Give a pod's processes, by what they are called."""
        return list(self._of(pod_uid, program))

    def _of(self, pod_uid: str, program: str) -> Iterator[int]:
        for pid in cgroup_namespaces.group(self.places, "pods").pids():
            with suppress(OSError):
                groups = Path(f"/proc/{pid}/cgroup").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
                if pod_uid in groups and program in Path(command.decode()).name:
                    yield pid

    def send(self, pod_uid: str, what: signal.Signals, program: str = "python") -> int:
        """Send a signal to a pod's processes; say to how many."""
        pids = self.processes(pod_uid, program)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, what)
        return len(pids)

    def kill_api_server(self) -> None:
        cgroup_namespaces.kill(self.places, "kube-apiserver")

    def bring_back(self) -> None:
        """Start again what was killed of the control plane."""
        node.start_control_plane(self.places)

    def pod_of(self, namespace: str, selector: str) -> Json:
        """Wait for one pod that runs and is to go on, and give it."""

        def running_pods() -> list[Json]:
            return [
                pod
                for pod in self.pods(namespace, selector)
                if pod["status"].get("phase") == "Running"
                and "deletionTimestamp" not in pod["metadata"]
            ]

        pods: list[Json] = self.until(running_pods, selector)
        return pods[0]

    def replace(self, namespace: str, pod: str) -> None:
        """Delete a pod that was killed: another comes at once, where this one would wait."""
        options = ("--wait=false", "--ignore-not-found")
        self.kubectl("delete", "pod", pod, "-n", namespace, *options)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Have the store's disk be full."""
        self._disk.fill()
        try:
            yield
        finally:
            self._disk.make_room()

    def cut(self, address: str) -> None:
        """Let nothing of an address reach the API server, nor the other way."""
        table = "add table ip chaos-cut; "
        chain = "add chain ip chaos-cut early { type filter hook prerouting priority -350; }; "
        rule = (
            f"add rule ip chaos-cut early ip saddr {address} tcp dport {{ 443, 6443, {PORT} }} drop"
        )
        self._nft(table + chain + rule)

    def mend(self) -> None:
        """Let all links be as they were."""
        with suppress(subprocess.CalledProcessError):
            self._nft("delete table ip chaos-cut")

    def _nft(self, rules: str) -> None:
        entering = ["nsenter", *cgroup_namespaces.network(self.places), "--"]
        subprocess.run([*entering, "nft", rules], check=True, capture_output=True)


def wait_s(seconds: float) -> None:
    """Let time pass, where time itself is what is tried."""
    time.sleep(seconds)


STORE_NAMESPACE = objects.STORE
