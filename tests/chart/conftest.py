"""Helm as it is built for the cluster, and the chart as it renders."""

import functools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster import build
from devcluster.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "stockpot"
VALUES = {name: CHART / "ci" / f"{name}.yaml" for name in ("least", "most")}

Object = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What Helm made of the chart, or why it did not."""

    code: int
    stderr: str
    objects: tuple[Object, ...] = field(default=(), repr=False)

    def of(self, kind: str) -> list[Object]:
        return [thing for thing in self.objects if thing["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        (result,) = [thing for thing in self.of(kind) if thing["metadata"]["name"] == name]
        return result


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with helm, kubectl and an API server: `make control-plane` makes it."""
    return build.built(build.control_plane())


@pytest.fixture(scope="session")
def render(programs: Path) -> Render:
    """Render the chart with files of values and with `--set` arguments."""

    @functools.cache  # Helm takes 0.3 s, and most tests look at the same.
    def template(*files: str, namespace: str = "stockpot-system", **sets: str) -> Rendered:
        command = [str(programs / "helm"), "template", "stockpot", str(CHART), "-n", namespace]
        command += [f"--values={VALUES[name]}" for name in files]
        command += [f"--set-json={key.replace('__', '.')}={value}" for key, value in sets.items()]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            return Rendered(ended.returncode, ended.stderr)
        objects = tuple(thing for thing in yaml.safe_load_all(ended.stdout) if thing)
        return Rendered(0, ended.stderr, objects)

    return template


@dataclass(frozen=True)
class Shell:
    """Helm and kubectl, as an admin of a real API server."""

    programs: Path
    kubeconfig: Path

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        return subprocess.run(
            [str(self.programs / program), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *command: str, stdin: str = "") -> str:
        ended = self.run(*command, stdin=stdin)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def get(self, *what: str) -> Object:
        result = json.loads(self("kubectl", "get", *what, "-o", "json"))
        assert isinstance(result, dict)
        return result

    def make_namespace(self, name: str) -> None:
        """Make one that admits restricted pods alone."""
        self("kubectl", "create", "namespace", name)
        label = "pod-security.kubernetes.io/enforce=restricted"
        self("kubectl", "label", "namespace", name, label)

    def install(self, release: str, namespace: str, *more: str) -> str:
        values = f"--values={VALUES['least']}"
        return self("helm", "install", release, str(CHART), "-n", namespace, values, *more)


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    """A real API server, without our CustomResourceDefinitions: the chart brings them."""
    with ControlPlane() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shell(cluster: ControlPlane, programs: Path) -> Shell:
    """An admin's, on it; with the namespaces that the chart's values name."""
    shell = Shell(programs, cluster.kubeconfig)
    for name in ("stockpot-system", "studio", "atelier"):
        shell.make_namespace(name)
    return shell


@pytest.fixture
def installed(shell: Shell) -> Shell:
    """With the least that installs; again where the test before took it away."""
    there = ("kubectl", "get", "deployment", "stockpot-operator", "-n", "stockpot-system")
    if shell.run(*there).returncode != 0:
        shell.install("stockpot", "stockpot-system")
    # Of a refused uninstall: Helm takes it away only before the next.
    left = ("kubectl", "delete", "job", "stockpot-uninstall", "-n", "stockpot-system")
    shell(*left, "--ignore-not-found")
    return shell
