"""All that one test needs: two namespaces, a node, settings, operators as real processes.

The operator runs with the token of a ServiceAccount and the rights that the chart would give it.
"""

import copy
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from devcluster import build, commands
from devcluster.controlplane import free_ports
from tests.controlplane.admin import (
    ACCOUNTS,
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    PATIENCE_S,
    ROLES,
    Admin,
    Mirror,
)
from tests.controlplane.kubelet import Kubelet

from stockpot.authentication.key_file import new_grant_key
from stockpot.cluster.apiserver.objects import Json, condition_of, labels_on, name_of
from stockpot.cluster.apiserver.resources import (
    DATA_SHARDS,
    DEPLOYMENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    SOUP_REVISIONS,
    SOUPS,
    UNLEARNING_RECEIPTS,
    Resource,
)
from stockpot.cluster.chart.generation import role_rule
from stockpot.cluster.chart.permissions import (
    IN_CLUSTER,
    IN_RELEASE_NAMESPACE,
    IN_WORKLOAD_NAMESPACE,
    RbacRule,
)
from stockpot.store.folder import FolderStore

ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = itertools.count(1)
TOKEN_S = 6 * 3600
"""How long an operator is let in: longer than the longest benchmark."""
CRASHING_OPERATOR = Path(__file__).with_name("crashing_operator.py")


class Operator:
    """One operator process."""

    def __init__(
        self, folder: Path, name: str, settings: Path, kubeconfig: Path, dies: str
    ) -> None:
        self.name, self.port = name, free_ports(1)[0]
        self.log = folder / f"{name}.log"
        program = [str(CRASHING_OPERATOR)] if dies else ["-m", "stockpot.controller"]
        command = ["run", "--settings", str(settings), "--port", str(self.port)]
        env = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "OMP_NUM_THREADS": "1",
            "DIES": dies,
        }
        env.pop("KUBERNETES_SERVICE_HOST", None)
        self._command, self._env = [sys.executable, *program, *command], env
        self.is_kept = False
        """Whether the process is restarted when it ends, as a kubelet does."""
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._env)

    def log_lines(self) -> list[Json]:
        """Its log, so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def rss_bytes(self) -> int:
        return self._memory_bytes("VmRSS")

    def most_rss_bytes(self) -> int:
        """The largest that it ever was."""
        return self._memory_bytes("VmHWM")

    def _memory_bytes(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestCluster:
    """One test's part of the cluster."""

    __test__ = False  # pytest would collect it by its name.

    def __init__(self, admin: Admin, mirror: Mirror, folder: Path) -> None:
        number = next(_NUMBERS)
        self.admin, self.mirror, self.folder = admin, mirror, folder
        self.release, self.studio = f"system-{number}", f"studio-{number}"
        marks = FolderStore(folder / f"marks-{number}")
        self.kubelet = Kubelet(admin, mirror, f"node-{number}", marks)
        self.operators: list[Operator] = []
        self.kubectl_path = build.built(build.control_plane()) / "kubectl"
        self._made: list[str] = []
        self.grant_key = folder / f"grants-{number}" / "grant-key.pem"
        """The key that the operators have mounted."""

    # ---------------------------------------------------------------------------- what is there

    def build(self) -> None:
        """Make what the chart makes, and start the node."""
        self.make_namespace(self.release)
        self.start_node()
        self.account("operator", self.release)
        self.account("stockpot-unlearn", self.release)
        # By the name of its binding, as the chart's template has it.
        about = {"metadata": {"name": f"workload-{self.release}"}}
        self.admin.create(CLUSTER_ROLES, None, {**about, "rules": rules_of(IN_WORKLOAD_NAMESPACE)})
        about = {"metadata": {"name": "operator"}}
        self.admin.create(ROLES, self.release, {**about, "rules": rules_of(IN_RELEASE_NAMESPACE)})
        self.bind(self.release, "Role", "operator")
        self.prepare_studio()
        about = {"name": f"operator-{self.release}"}
        self.admin.create(CLUSTER_ROLES, None, {"metadata": about, "rules": rules_of(IN_CLUSTER)})
        bound = self._bound("ClusterRole", about["name"])
        self.admin.create(CLUSTER_BINDINGS, None, {"metadata": about, **bound})

    def start_node(self) -> None:
        self.grant_key.parent.mkdir()
        self.grant_key.write_bytes(new_grant_key())
        self.kubelet.start()

    def add_namespace(self, *, prepared: bool = True) -> "TestCluster":
        """Make another namespace for soups, of the same release and on the same node.

        Args:
            prepared: Whether it has what the chart puts into a workload namespace.
        """
        other = copy.copy(self)
        other.studio = f"{self.studio}-{len(self._made)}"
        if prepared:
            other.prepare_studio()
        else:
            other.make_namespace(other.studio)
        return other

    def prepare_studio(self) -> None:
        self.make_namespace(self.studio)
        self.account("stockpot-workload", self.studio)
        self.bind(self.studio, "ClusterRole", f"workload-{self.release}")

    def make_namespace(self, name: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.admin.create(NAMESPACES, None, {"metadata": {"name": name, "labels": labels}})
        self._made.append(name)

    def account(self, name: str, namespace: str) -> None:
        self.admin.create(ACCOUNTS, namespace, {"metadata": {"name": name}})

    def bind(self, namespace: str, kind: str, role: str, name: str = "operator") -> None:
        """Let the operator do there what the role says."""
        bound = self._bound(kind, role)
        self.admin.create(BINDINGS, namespace, {"metadata": {"name": name}, **bound})

    def _bound(self, kind: str, name: str) -> Json:
        who = {"kind": "ServiceAccount", "name": "operator", "namespace": self.release}
        role = {"apiGroup": ROLES.group, "kind": kind, "name": name}
        return {"roleRef": role, "subjects": [who]}

    def settings(self, **changes: Any) -> Path:
        spec: Json = {
            "release": {
                "name": "stockpot",
                "namespace": self.release,
                "binding": "operator",
            },
            "workloadNamespaces": [self.studio],
            "images": {"workload": "example.org/trainer:1", "unlearn": "example.org/stockpot:1"},
            "stores": {
                "default": {
                    "url": "s3://soups/here",
                    "endpoint": "http://store.example:8333",
                    "credentials": {"workload": "store-workload", "unlearn": "store-unlearn"},
                }
            },
            "serviceAccounts": {"workload": "stockpot-workload", "unlearn": "stockpot-unlearn"},
            "signingKey": {"secret": "stockpot-signing"},
            "grantKey": str(self.grant_key),
            "pods": {
                "nodeSelector": {"kubernetes.io/hostname": self.kubelet.node},
                "tolerations": [{"operator": "Exists"}],
            },
        }
        path = self.folder / f"settings-{len(list(self.folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump({**spec, **changes}))
        return path

    def operator(self, name: str = "first", *, dies: str = "", **settings: Any) -> Operator:
        """Start one."""
        return self.start_operator(name, self.settings(**settings), "operator", dies)

    def start_operator(self, name: str, settings: Path, account: str, dies: str = "") -> Operator:
        """Start one with a settings file, and the rights of a ServiceAccount of the release."""
        kubeconfig = self.folder / f"{account}.kubeconfig"
        if not kubeconfig.exists():
            path = ACCOUNTS.path(self.release, account, "token")
            request = {"spec": {"expirationSeconds": TOKEN_S}}
            token = self.admin.ask("POST", path, request)["status"]["token"]
            cluster = self.admin.cluster
            kubeconfig.write_text(commands.kubeconfig(url=cluster.url, token=token, ca=cluster.ca))
        operator = Operator(self.folder, name, settings, kubeconfig, dies)
        self.operators.append(operator)
        return operator

    def tear_down(self) -> None:
        for operator in self.operators:
            operator.kill()
        for namespace in self._made:
            # What an operator would let go.
            for resource in (DATA_SHARDS, SOUPS, LEASES, BINDINGS):
                for thing in self.admin.list(resource, namespace):
                    if thing["metadata"].get("finalizers"):
                        gone = {"metadata": {"finalizers": None}}
                        self.admin.merge(resource, namespace, name_of(thing), gone)
            self.admin.delete(NAMESPACES, None, namespace)
            # Nobody is left to confirm their end.
            for pod in self.admin.list(PODS, namespace):
                self.admin.delete(PODS, namespace, name_of(pod), gracePeriodSeconds=0)
        self.kubelet.stop()

    # ----------------------------------------------------------------------------- what people do

    def kubectl(self, *arguments: str, stdin: str = "", ok: bool = True) -> str:
        """Run it as the admin, in the soups' namespace; say all that it says."""
        command = [str(self.kubectl_path), f"--kubeconfig={self.admin.cluster.kubeconfig}"]
        ended = subprocess.run(
            [*command, "-n", self.studio, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode == 0) is ok, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def soup(self, name: str = "soup", **spec: Any) -> Json:
        manifest_spec = {
            "base": {"s3": {"prefix": "bases/emoji"}},
            "membership": {"settleSeconds": 0},
            "serving": {"replicas": 1},
            **spec,
        }
        return self.admin.create(
            SOUPS, self.studio, {"metadata": {"name": name}, "spec": manifest_spec}
        )

    def shard(self, name: str, soup: str = "soup", **spec: Any) -> str:
        """Apply one.

        Returns:
            Its UID.
        """
        manifest_spec = {
            "soupRef": {"name": soup},
            "source": {"s3": {"prefix": f"data/{name}"}},
            **spec,
        }
        made = self.admin.create(
            DATA_SHARDS, self.studio, {"metadata": {"name": name}, "spec": manifest_spec}
        )
        return str(made["metadata"]["uid"])

    def soup_spec(self, **spec: Any) -> None:
        """Change fields of the Soup's spec."""
        self.admin.merge(SOUPS, self.studio, "soup", {"spec": spec})

    def change(self, name: str, spec: Json) -> None:
        """Change fields of a shard's spec."""
        self.admin.merge(DATA_SHARDS, self.studio, name, {"spec": spec})

    def delete(self, name: str, resource: Resource = DATA_SHARDS) -> None:
        self.admin.delete(resource, self.studio, name)

    # ------------------------------------------------------------------------------ what is seen

    def get(self, name: str, resource: Resource = DATA_SHARDS) -> Json | None:
        return self.mirror.get(resource, self.studio, name)

    def all(self, resource: Resource) -> list[Json]:
        return self.mirror.of(resource, self.studio)

    def condition(self, name: str, type_: str, resource: Resource = DATA_SHARDS) -> Json:
        """A condition, whatever its status; an empty one where there is none."""
        thing = self.get(name, resource) or {}
        for status in ("True", "False"):
            if thing and (condition := condition_of(thing, type_, status)):
                return condition
        return {"status": "", "reason": "", "message": ""}

    def is_so(self, name: str, type_: str, resource: Resource = DATA_SHARDS) -> bool:
        return self.condition(name, type_, resource)["status"] == "True"

    def jobs(self, verb: str = "") -> list[Json]:
        every = [*self.mirror.of(JOBS, self.studio), *self.mirror.of(JOBS, self.release)]
        return [job for job in every if verb in {"", labels_on(job)["app.kubernetes.io/component"]}]

    def posted(self, verb: str) -> list[str]:
        """The name of each Job that was ever made for it, as often as it was made."""
        happened = self.mirror.happened(JOBS, (self.studio, self.release))
        return [
            name_of(entry.thing)
            for entry in happened
            if entry.type == "ADDED"
            and labels_on(entry.thing).get("app.kubernetes.io/component") == verb
        ]

    def receipts(self) -> list[Json]:
        return self.all(UNLEARNING_RECEIPTS)

    def revisions(self) -> list[Json]:
        return self.all(SOUP_REVISIONS)

    def deployment(self) -> Json | None:
        deployments = self.all(DEPLOYMENTS)
        return deployments[0] if deployments else None

    def progress(self, name: str) -> int | None:
        """How far a shard says that its training is, in percent."""
        status = (self.get(name) or {}).get("status", {})
        percent: int | None = status.get("training", {}).get("progressPercent")
        return percent

    def leader(self) -> str:
        """Whose Lease it is: the name of an operator."""
        lease = self.mirror.get(LEASES, self.release, "stockpot-operator")
        return ((lease or {}).get("spec", {}).get("holderIdentity") or "").rpartition("_")[0]

    def serving(self) -> list[frozenset[str] | None]:
        """Which shards each server answers with."""
        return [server.serving for server in self.kubelet.servers()]

    def until(self, so: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> float:
        """Wait until it is so: looked at whenever anything happens.

        Returns:
            How long it took, in seconds.
        """
        began_s = time.monotonic()
        while not so():
            left_s = began_s + within_s - time.monotonic()
            if left_s <= 0:
                raise AssertionError(f"{what}: not within {within_s:.0f} s\n{self.story()}")
            for operator in self.operators:
                if operator.is_kept and operator.process.poll() is not None:
                    operator.start()
            with self.mirror.changed:
                # What servers answer is no object: looked at now and then.
                self.mirror.changed.wait(min(left_s, 0.1))
        return time.monotonic() - began_s

    def learnt(self, *names: str, within_s: float = PATIENCE_S) -> float:
        """Wait until shards are trained, included and served, and the soup is settled."""

        def settled() -> bool:
            return self.is_so("soup", "Ready", SOUPS) and all(
                self.is_so(name, "Ready") for name in names
            )

        return self.until(settled, f"{', '.join(names)} learnt", within_s)

    def forgotten(self, name: str, within_s: float = PATIENCE_S) -> float:
        return self.until(lambda: self.get(name) is None, f"{name} forgotten", within_s)

    def story(self) -> str:
        """What a person would look at when something hangs."""
        lines = []
        for resource in (SOUPS, DATA_SHARDS):
            for thing in self.all(resource):
                messages = [
                    "{type}={status} {reason}: {message}".format_map(condition)
                    for condition in thing.get("status", {}).get("conditions", ())
                ]
                lines.append(f"{resource.kind} {name_of(thing)} {messages}")
        for job in self.jobs():
            conditions = [
                condition["type"] for condition in job.get("status", {}).get("conditions", ())
            ]
            lines.append(f"Job {name_of(job)} {conditions} {job['metadata'].get('finalizers')}")
        for operator in self.operators:
            lines.append(f"--- {operator.name}, {operator.process.poll()}")
            lines += operator.log.read_text(errors="replace").splitlines()[-25:]
        return "\n".join(lines)


def rules_of(rules: tuple[RbacRule, ...]) -> list[Json]:
    """As the chart writes them."""
    every = [role_rule(rule, "operator") for rule in rules]
    for thing in every:
        if "operator" in thing.get("resourceNames", ()):
            thing["resourceNames"].append("operator-of-another")
    return every
