"""A tiny soup in a folder, driven through the command line: shared by the tests of local mode."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests import tiny

from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.local.environment import remember
from stockpot.local.layout import Layout
from stockpot.local.session import Session
from stockpot.reconcile.ports import SoupKey

STEPS = 6


@dataclass(frozen=True)
class CommandResult:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Table:
    """A folder with a tiny base, data and manifests, and a state folder beside them."""

    root: Path
    state_name: str = "state"

    @property
    def state(self) -> Path:
        return self.root / self.state_name

    @property
    def session(self) -> Session:
        return Session(Layout(self.state))

    def beside(self, name: str) -> "Table":
        """Return a table on the same base, data and manifests, with its own state folder."""
        return Table(self.root, name)

    def copied(self, root: Path) -> "Table":
        """Copy everything to a new folder. No process of the table may run."""
        shutil.copytree(self.root, root)
        if (root / self.state_name).exists():
            remember(Layout(root / self.state_name), {"here": root}, port=0)
        return Table(root, self.state_name)

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "stockpot.cli", *map(str, arguments)]

    def run(self, *arguments: str | Path) -> CommandResult:
        """Run `stockpot local …` in this folder."""
        done = subprocess.run(
            self.command("local", *arguments, "--dir", self.state),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=environment(),
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def apply(self, *names: str) -> CommandResult:
        files = [part for name in names for part in ("-f", self.root / f"{name}.yaml")]
        return self.run("apply", *files, "--claim", f"here={self.root}", "--port", "0")

    def delete(self, *names: str) -> CommandResult:
        return self.run("delete", *(f"shard/{name}" for name in names))

    def keygen(self) -> None:
        self.state.mkdir(exist_ok=True)
        make = self.command("keygen", "--out", self.state / "signing-key.pem")
        subprocess.run(make, check=True, capture_output=True, env=environment())

    def soup(self) -> Soup:
        soup = self.session.objects.read(Soup, "default", "tiny")
        assert soup is not None
        return soup

    def weights(self) -> str:
        current = self.soup().status.current_revision
        assert current is not None
        return current.weights_digest

    def shards(self) -> dict[str, DataShard]:
        shards = self.session.objects.list(DataShard, "default")
        return {shard.metadata.name: shard for shard in shards}

    def revisions(self) -> tuple[SoupRevision, ...]:
        return tuple(self.session.objects.list(SoupRevision, "default"))

    def receipts(self) -> tuple[UnlearningReceipt, ...]:
        return tuple(self.session.objects.list(UnlearningReceipt, "default"))

    def url(self) -> str:
        endpoint = self.session.servers(SoupKey("default", "tiny")).endpoint
        assert endpoint is not None
        return endpoint.url

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of objects, store and runs, with its size and modification time."""
        return {
            str(path.relative_to(self.state)): (path.stat().st_size, path.stat().st_mtime_ns)
            for place in ("objects", "store", "runs")
            for path in sorted((self.state / place).rglob("*"))
            if path.is_file()
        }

    def down(self) -> None:
        if self.state.exists():
            self.run("down")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def lay(root: Path, *shards: str, **soup: Any) -> Table:
    """Make a base, data for each shard, and manifests."""
    tiny.a_base(root / "base")
    tiny.some_data(root / "data/heldout", n=4, seed=99)
    spec = {
        "base": {"pvc": {"claimName": "here", "path": "base"}},
        "training": {
            "maxTrainSteps": STEPS,
            "trainBatchSize": 4,
            "resolution": tiny.RESOLUTION,
            "snrGamma": "5",
            "ema": {"decay": "0.5"},
            "checkpointingSteps": 2,
            "optimizer": {"options": {"learningRate": "0.001"}},
        },
        "membership": {"settleSeconds": 0},
        **soup,
    }
    write(root / "soup.yaml", "Soup", "tiny", spec)
    for seed, name in enumerate(shards):
        tiny.some_data(root / f"data/{name}", n=8, seed=seed)
        source = {"pvc": {"claimName": "here", "path": f"data/{name}"}}
        write(
            root / f"{name}.yaml",
            "DataShard",
            name,
            {"soupRef": {"name": "tiny"}, "source": source},
        )
    return Table(root)


def write(path: Path, kind: str, name: str, spec: dict[str, Any]) -> None:
    manifest = {
        "apiVersion": "stockpot.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    path.write_text(yaml.safe_dump(manifest))


def processes(table: Table) -> Iterator[int]:
    """Yield the pid of every live process of this folder."""
    for path in table.state.rglob("pid"):
        try:
            pid = int(path.read_text())
            os.kill(pid, 0)
        except (ValueError, ProcessLookupError, FileNotFoundError):
            continue
        yield pid


def kill(pid: int) -> None:
    """Kill a process group that this test's own commands started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def result_of(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result
