"""A cluster with Stockpot in it: the built-in one, or one that a person has.

Here is how it is brought up, how its Services and its store are reached from this machine, and
how it is ended. What happens in it is in `cluster.py`.
"""

import atexit
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from devcluster import build, objects
from devcluster.places import DEFAULT_NAME, places
from terminal import EXAMPLE, ROOT, Teller

SYSTEM = "stockpot-system"
STUDIO, PROOF = objects.STUDIO, objects.PROOF
WORKLOADS = (STUDIO, PROOF)
HOW = "examples/emoji/cluster/README.md"
LEVEL = "pod-security.kubernetes.io/enforce=restricted"


class Ground(Protocol):
    """A cluster, as the story uses it."""

    @property
    def context(self) -> str:
        """The kubeconfig's context; empty for its only one."""

    @property
    def kubeconfig(self) -> Path | None:
        """The kubeconfig; None for the person's own."""

    @property
    def kubectl(self) -> Sequence[str | Path]:
        """How it is run, with what it needs to find the cluster."""

    @property
    def shown(self) -> Sequence[str]:
        """How a person runs it."""

    def begin(self, teller: Teller) -> None:
        """Have the cluster, with Stockpot in it."""

    def forward(self, namespace: str, service: str, port: str, local: int) -> str:
        """Let this machine reach a Service; give the URL."""

    def values(self) -> Path:
        """What the chart is told."""

    def farewell(self, url: str) -> Mapping[str, str]:
        """How it is looked at, and ended."""


class BuiltIn:
    """The one-node cluster of `make cluster`."""

    context = ""

    def __init__(self, name: str, images: bool) -> None:
        self._name, self._images = name, images
        self._places = places(name)
        self.kubeconfig: Path | None = self._places.kubeconfig
        # The links in bin/ reach the cluster of this name.
        other = () if name == DEFAULT_NAME else (f"DEVCLUSTER={name}",)
        self.shown: Sequence[str] = (*other, "bin/kubectl")

    @property
    def kubectl(self) -> Sequence[str | Path]:
        """How it is run."""
        programs = build.built(build.control_plane())
        return (programs / "kubectl", f"--kubeconfig={self.kubeconfig}")

    def begin(self, teller: Teller) -> None:
        """Bring it up, install what is here, and wait until the operator is ready."""
        make = ("make", "cluster") if self._name == DEFAULT_NAME else self._devcluster("up")
        teller.call(*self._devcluster("up"), shown=make)
        if self._images:
            self._load(teller)
        own = self._devcluster
        if not _succeeds(*self.kubectl, "get", "namespace", PROOF):
            words = ("create", "namespace", PROOF)
            teller.call(*self.kubectl, *words, shown=(*self.shown, *words))
            _quietly(*self.kubectl, "label", "namespace", PROOF, LEVEL)
        _quietly(*own("volume", PROOF, "stockpot-code", str(self._places.code)))
        _quietly(*own("volume", PROOF, "emoji", str(EXAMPLE)))
        path = f"stores.default.credentials.namespaces.{PROOF}"
        access, secret = objects.WORKLOADS[PROOF]
        install(
            teller, self, f"--set={path}.accessKey={access}", f"--set={path}.secretKey={secret}"
        )

    def values(self) -> Path:
        """What the chart is told."""
        return EXAMPLE / "cluster" / ("images.yaml" if self._images else "builtin.yaml")

    def forward(self, namespace: str, service: str, port: str, local: int) -> str:
        """Start a forwarder of the cluster's; it finds the Service's address itself."""
        target = f"{namespace}/{service}:{port}"
        done = subprocess.run(
            self._devcluster("forward", target, str(local)),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        if done.returncode:
            sys.exit(done.stderr)
        return f"http://{done.stderr.split()[0]}"

    def farewell(self, url: str) -> Mapping[str, str]:
        """How it is looked at, and ended."""
        return {"ask it": url, "stop it": "make down   (the cluster goes, and all that is in it)"}

    def helm(self) -> Sequence[str | Path]:
        """How helm is run."""
        programs = build.built(build.control_plane())
        return (programs / "helm", f"--kubeconfig={self.kubeconfig}")

    def _devcluster(self, *words: str) -> Sequence[str]:
        return (sys.executable, "-m", "devcluster", "--name", self._name, *words)

    def _load(self, teller: Teller) -> None:
        archives = ROOT / "out/images"
        variable = f"ARCHIVES={archives}"
        teller.call("make", "images", variable, shown=("make", "images", "ARCHIVES=out/images"))
        for archive in sorted(archives.glob("*.tar")):
            words = ("image", str(archive))
            teller.call(*self._devcluster(*words), shown=("python3", "-m", "devcluster", *words))


class Borrowed:
    """A cluster that a person has, by its context."""

    kubeconfig: Path | None = None

    def __init__(self, context: str, registry: str) -> None:
        self.context, self._registry = context, registry
        self.kubectl: Sequence[str | Path] = ("kubectl", f"--context={context}")
        self.shown: Sequence[str] = ("kubectl",)
        for program in ("kubectl", "helm"):
            if shutil.which(program) is None:
                sys.exit(f"{program} is not here\n  help: install it, or run `make demo` alone")
        if not _succeeds(*self.kubectl, "version"):
            sys.exit(
                f"the cluster of context {context} does not answer\n"
                "  help: `kubectl config get-contexts` lists those that you have"
            )
        if not self.values().is_file():
            sys.exit(f"there are no values for the chart\n  help: VALUES=file; see {HOW}")
        for namespace in WORKLOADS:
            if not _succeeds(*self.kubectl, "get", "pvc", "emoji", "-n", namespace):
                sys.exit(
                    f"there is no claim `emoji` in the namespace {namespace}\n  help: see {HOW}"
                )

    def begin(self, teller: Teller) -> None:
        """Install what is here, with the person's values, and wait until the operator is ready."""
        install(
            teller, self, *([f"--set=images.registry={self._registry}"] if self._registry else [])
        )

    def values(self) -> Path:
        """What the chart is told."""
        return Path(os.environ.get("VALUES") or ROOT / "out/values.yaml")

    def forward(self, namespace: str, service: str, port: str, local: int) -> str:
        """Start `kubectl port-forward`, which ends with the demo."""
        process = subprocess.Popen(
            [
                *map(str, self.kubectl),
                "-n",
                namespace,
                "port-forward",
                f"service/{service}",
                f"{local or ''}:{port}",
            ],
            stdout=subprocess.PIPE,
        )
        atexit.register(process.terminate)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if "127.0.0.1:" not in line:
            sys.exit(f"service/{service} in {namespace} cannot be reached")
        return f"http://127.0.0.1:{line.split('127.0.0.1:')[1].split()[0]}"

    def farewell(self, url: str) -> Mapping[str, str]:
        """How it is looked at, and ended."""
        return {
            "ask it": f"kubectl -n {STUDIO} port-forward service/emoji 8000:80",
            "stop it": f"kubectl delete shards --all -n {STUDIO}; "
            f"kubectl delete soups --all -n {STUDIO}; "
            f"helm uninstall stockpot -n {SYSTEM}",
        }

    def helm(self) -> Sequence[str | Path]:
        """How helm is run."""
        return ("helm", f"--kube-context={self.context}")


def install(teller: Teller, ground: BuiltIn | Borrowed, *more: str) -> None:
    """Install the chart, or upgrade what is there to what is here, and wait for the operator."""
    release = (
        "upgrade",
        "--install",
        "stockpot",
        "charts/stockpot",
        "-n",
        SYSTEM,
        "-f",
        ground.values(),
    )
    namespaces = f"--set=workloadNamespaces={{{','.join(WORKLOADS)}}}"
    helm = "bin/helm" if isinstance(ground, BuiltIn) else "helm"
    command = (*ground.helm(), *release, namespaces, *more)
    teller.console.print(f"[bold cyan]$ {helm} {' '.join(map(str, _short(release)))}[/]")
    began_s = time.monotonic()
    was_there = _succeeds(*ground.helm(), "status", "stockpot", "-n", SYSTEM)
    _quietly(*command)
    # A release of the same values is no change to a Deployment, and its code may be another.
    if was_there and isinstance(ground, BuiltIn):
        _quietly(
            *ground.kubectl, "-n", SYSTEM, "rollout", "restart", "deployment/stockpot-operator"
        )
    rollout = ("-n", SYSTEM, "rollout", "status", "deployment/stockpot-operator", "--timeout=180s")
    if not _succeeds(*ground.kubectl, *rollout):
        logs = ("logs", "deployment/stockpot-operator", "--all-pods", "--tail=5")
        pods = _quietly(*ground.kubectl, "-n", SYSTEM, "get", "pods")
        sys.exit(f"no operator is ready\n{pods}{_quietly(*ground.kubectl, '-n', SYSTEM, *logs)}")
    teller.confirm(f"the operator is ready after {time.monotonic() - began_s:.0f} s")


def _short(words: Sequence[str | Path]) -> list[str]:
    return [str(word).replace(f"{ROOT}/", "") for word in words]


def _succeeds(*command: str | Path) -> bool:
    return not subprocess.run([*map(str, command)], capture_output=True, check=False).returncode


def _quietly(*command: str | Path) -> str:
    """Run a command; its words are shown where it fails."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        sys.exit(f"`{' '.join(_short(command))}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout
