"""The places with a real API server: an empty one, and one with Stockpot and a node that plays."""

import base64
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from devcluster import build, commands
from devcluster.controlplane import ControlPlane, free_ports
from tests.controlplane.admin import ACCOUNTS, SECRETS, Admin, Mirror
from tests.controlplane.kubelet import Kubelet
from tests.controlplane.testbed import Operator
from tests.docs.grounds import BIN, Lend, Setting, cloned, ours
from tests.docs.receipts import some_receipts
from tests.docs.shell import Ground

from stockpot.api.runspec import ObjectRef, StoreRef
from stockpot.cluster.apiserver.objects import condition_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    NAMESPACES,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.store.folder import FolderStore

SYSTEM, STUDIO, NODE = "stockpot-system", "studio", "node-1"
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SHARDS = ("birds", "food", "portraits")
WITHIN_S = 90.0
UNTIL_READY = """#!/bin/bash
# Run an operator until it is ready, end it as a kubelet does, and give its exit code.
"$@" & operator=$!
until curl -sf "http://127.0.0.1:$PORT/readyz" >/dev/null; do
    kill -0 "$operator" 2>/dev/null || { wait "$operator"; exit; }
    sleep 0.2
done
kill -TERM "$operator"
wait "$operator"
"""


def kubernetes(cluster: ControlPlane, programs: Path, **more: str) -> dict[str, str]:
    """An environment in which kubectl and helm speak to a cluster."""
    environment = ours(KUBECONFIG=str(cluster.kubeconfig), **more)
    return {**environment, "PATH": f"{programs}{os.pathsep}{environment['PATH']}"}


@contextmanager
def api_server(setting: Setting) -> Iterator[Lend]:
    """A new one for each page, beside a clone of its own."""
    programs = build.built(build.control_plane())
    with ExitStack() as running:

        def lend(page: str) -> Ground:
            running.close()  # Of the page before.
            at = setting.new(page.replace("/", "-"))
            tree = cloned(Setting(at, setting.s3))
            cluster = running.enter_context(ControlPlane())
            return Ground(tree, at, kubernetes(cluster, programs))

        yield lend


@contextmanager
def installed(setting: Setting) -> Iterator[Lend]:
    """The chart on an API server, an operator, a node that plays its pods, and a bucket."""
    programs = build.built(build.control_plane())
    server = setting.s3()
    server.make("soups", versioned=True)
    soup = ObjectRef(namespace=STUDIO, name="emoji", uid="soup-1")
    receipts = some_receipts(setting.new("receipts"), soup)
    with ExitStack() as running:
        cluster = running.enter_context(ControlPlane(scheduler=True))
        test_cluster = TestCluster(cluster, programs, setting.new("operator"))
        running.callback(test_cluster.stop)
        test_cluster.install(receipts.key)
        test_cluster.begin()

        def lend(page: str) -> Ground:
            name = page.replace("/", "-").removesuffix(".md").lower()
            at = setting.new(name)
            tree = cloned(Setting(at, setting.s3))
            receipts.copy_to(StoreRef(url=f"s3://soups/{name}", endpoint=server.endpoint))
            (tree / "emoji.pub").write_bytes(receipts.public_key.read_bytes())
            return Ground(tree, at, variables(at, name))

        def variables(at: Path, name: str) -> dict[str, str]:
            (at / "bin").mkdir()
            (at / "bin/until-ready").write_text(UNTIL_READY)
            (at / "bin/until-ready").chmod(0o755)
            (at / "audit").mkdir()
            more = {
                "PREFIX": name,
                "ENDPOINT": server.endpoint,
                "HEAD": receipts.head(),
                "AUDIT": str(at / "audit"),
                "PORT": str(free_ports(1)[0]),
            }
            environment = kubernetes(cluster, programs, **more)
            return {**environment, "PATH": f"{at / 'bin'}{os.pathsep}{environment['PATH']}"}

        yield lend


class TestCluster:
    """Stockpot as its chart installs it, but that its operator and its node are ours."""

    def __init__(self, cluster: ControlPlane, programs: Path, folder: Path) -> None:
        self.cluster, self._programs, self._folder = cluster, programs, folder
        self.admin = Admin(cluster)
        self._mirror: Mirror | None = None
        self._kubelet: Kubelet | None = None
        self._operator: Operator | None = None

    def install(self, key: Path) -> None:
        """Install the chart, with a key that signed receipts before."""
        for name in (SYSTEM, STUDIO):
            self.admin.create(NAMESPACES, None, {"metadata": {"name": name}})
        pem = {"signing-key.pem": key.read_text()}
        self.admin.create(SECRETS, SYSTEM, {"metadata": {"name": "signing"}, "stringData": pem})
        values = self._folder / "values.yaml"
        values.write_text(yaml.safe_dump(VALUES))
        chart = str(BIN.parents[1] / "charts/stockpot")
        self._call("helm", "install", "stockpot", chart, "-n", SYSTEM, "-f", str(values))

    def begin(self) -> None:
        """Start a node and an operator, learn some shards, and forget one of them."""
        self._mirror = Mirror(self.admin)
        self._kubelet = Kubelet(self.admin, self._mirror, NODE, FolderStore(self._folder / "marks"))
        self._kubelet.start()
        self._operator = Operator(
            self._folder, "operator", self._settings(), self._kubeconfig(), dies=""
        )
        values: dict[str, Any] = {
            "base": {"s3": {"prefix": "bases/emoji"}},
            "membership": {"settleSeconds": 0},
            "serving": {"replicas": 1},
        }
        self.admin.create(SOUPS, STUDIO, {"metadata": {"name": "emoji"}, "spec": values})
        for name in SHARDS:
            spec = {"soupRef": {"name": "emoji"}, "source": {"s3": {"prefix": f"data/{name}"}}}
            self.admin.create(DATA_SHARDS, STUDIO, {"metadata": {"name": name}, "spec": spec})
        self._until(self._is_learnt, "the shards are learnt")
        self.admin.delete(DATA_SHARDS, STUDIO, SHARDS[0])
        self._until(self._has_receipt, "a shard is forgotten")

    def stop(self) -> None:
        """End what was started."""
        if self._operator:
            self._operator.kill()
        if self._kubelet:
            self._kubelet.stop()
        if self._mirror:
            self._mirror.stop()

    def _settings(self) -> Path:
        settings = self.admin.get(CONFIG_MAPS, SYSTEM, "stockpot-settings")
        assert settings
        secret = self.admin.get(SECRETS, SYSTEM, "stockpot-grant-key")
        assert secret
        key = self._folder / "grant-key.pem"
        key.write_bytes(base64.b64decode(secret["data"][key.name]))
        path = self._folder / "settings.yaml"
        chosen = yaml.safe_load(settings["data"]["settings.yaml"])
        path.write_text(yaml.safe_dump({**chosen, "grantKey": str(key)}))
        return path

    def _kubeconfig(self) -> Path:
        path = ACCOUNTS.path(SYSTEM, "stockpot-operator", "token")
        token = self.admin.ask("POST", path, {"spec": {}})["status"]["token"]
        kubeconfig = self._folder / "operator.kubeconfig"
        cluster = self.cluster
        kubeconfig.write_text(commands.kubeconfig(url=cluster.url, token=token, ca=cluster.ca))
        return kubeconfig

    def _is_learnt(self) -> bool:
        things = [*self.admin.list(DATA_SHARDS, STUDIO), *self.admin.list(SOUPS, STUDIO)]
        return all(condition_of(thing, "Ready", "True") for thing in things)

    def _has_receipt(self) -> bool:
        there = self.admin.get(DATA_SHARDS, STUDIO, SHARDS[0])
        return there is None and bool(self.admin.list(UNLEARNING_RECEIPTS, STUDIO))

    def _until(self, so: Callable[[], bool], what: str) -> None:
        assert self._mirror
        deadline_s = time.monotonic() + WITHIN_S
        while not so():
            assert time.monotonic() < deadline_s, f"{what}: not within {WITHIN_S:.0f} s"
            with self._mirror.changed:
                self._mirror.changed.wait(0.5)

    def _call(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), f"--kubeconfig={self.cluster.kubeconfig}", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


VALUES = {
    "workloadNamespaces": [STUDIO],
    "images": {"registry": "registry.example.com/team"},
    "stores": {
        "default": {
            "url": "s3://soups/here",
            "endpoint": "http://store.example:8333",
            "credentials": {
                "workload": {"existingSecret": "store-workload"},
                "unlearn": {"existingSecret": "store-unlearn"},
            },
        }
    },
    "signingKey": {"existingSecret": "signing"},
    # The node plays workloads alone; the operator is a process of ours.
    "operator": {"nodeSelector": {"kubernetes.io/hostname": "none"}},
    "pods": {
        "nodeSelector": {"kubernetes.io/hostname": NODE},
        "tolerations": [{"operator": "Exists"}],
    },
}
