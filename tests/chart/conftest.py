"""Helm as it is built for the cluster, and the chart as it renders."""

import functools
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
    said: str
    objects: tuple[Object, ...] = field(default=(), repr=False)

    def of(self, kind: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with helm, kubectl and an API server: `make devcluster-build` makes it."""
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
        objects = tuple(one for one in yaml.safe_load_all(ended.stdout) if one)
        return Rendered(0, ended.stderr, objects)

    return template


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    """A real API server, without our CustomResourceDefinitions: the chart brings them."""
    with ControlPlane() as cluster:
        yield cluster
