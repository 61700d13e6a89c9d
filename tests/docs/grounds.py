"""The places that need no cluster. Each is built once, and lends a ground to page after page."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.controlplane import free_ports
from devcluster.locks import only_one
from devcluster.places import cache
from tests.docs.pages import ROOT
from tests.docs.receipts import SHARDS, Receipts, key_of
from tests.docs.shell import Ground
from tests.docs.table import QUICK
from tests.docs.visitor import Visitor, call, has_python, repository, visitor
from tests.merging.kitchen import a_base_folder, file_bytes, some_tensors
from tests.packaging.conftest import pins_for, uv

from stockpot.api.runspec import ObjectRef

BIN = ROOT / ".venv/bin"
EXAMPLE = ROOT / "examples/emoji"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TORCHLESS = {"conv.weight": ("F16", (3, 5)), "conv.bias": ("F16", (3,))}

Lend = Callable[[str], Ground]
"""Give a page its ground: a working directory, and what its commands need."""


@dataclass(frozen=True)
class Setting:
    """What every place is built from."""

    folder: Path
    """Empty, and thrown away by whoever gave it."""
    s3: Callable[[], Any]
    """Start, once, a real S3 server; see tests/contract."""

    def new(self, name: str) -> Path:
        """Make a folder."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path


Build = Callable[[Setting], AbstractContextManager[Lend]]


def ours(**more: str) -> dict[str, str]:
    """Our own environment, in which `stockpot` is the command of this repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    kept.pop("MAKEFLAGS", None)
    kept.pop("MAKELEVEL", None)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "INTERPRETER": ".venv/bin/python", **more}


def ports(count: int) -> list[str]:
    return [str(port) for port in free_ports(count)]


# ------------------------------------------------------------------------- a reader with nothing


@contextmanager
def clone(setting: Setting) -> Iterator[Lend]:
    """An empty folder of somebody who has nothing yet."""
    del setting
    with visitor() as guest:
        assert has_python(guest), (
            f"{' '.join(guest.user) or 'this user'} reaches no python3 of 3.11 or newer with pip: "
            "put one on the PATH where everybody may read it"
        )
        data = some_pictures(guest)
        bare = repository(guest.folder)
        guest.give(bare)
        port, own_port = ports(2)
        variables = {
            **guest.variables,
            "REPOSITORY": str(bare),
            "DATA": str(data),
            "PORT": port,
            "OWN_PORT": own_port,
            "TESTS": "spec" if QUICK else "test",
            "QUICK": "1" if QUICK else "",
        }
        scratch = guest.folder / "scratch"
        yield lambda page: Ground(guest.home, scratch, variables, guest.user, guest.owner)


def some_pictures(guest: Visitor) -> Path:
    """A folder with a base and with pictures: the example's own, under other names."""
    data = guest.folder / "pictures"
    shutil.copytree(EXAMPLE / "base", data / "base")
    shutil.copytree(EXAMPLE / "data/heldout", data / "holiday-2019")
    guest.give(data)
    return data


# --------------------------------------------------------------------------------- a developer


@contextmanager
def checkout(setting: Setting) -> Iterator[Lend]:
    """A clone, whose .venv is the one that runs the tests."""
    tree = cloned(setting)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    scratch = setting.new("scratch")
    # make would see a lock that is newer than .venv, though it is the same.
    for lock in (tree / "requirements").iterdir():
        os.utime(lock, (0, 0))
    yield lambda page: Ground(tree, scratch, ours())


def cloned(setting: Setting) -> Path:
    tree = setting.folder / "stockpot"
    bare = repository(setting.new("bare"))
    subprocess.run(["git", "clone", "--quiet", str(bare), str(tree)], check=True)
    return tree


@contextmanager
def own_clone(setting: Setting) -> Iterator[Lend]:
    """A clone with an environment of its own, made out of our cache."""
    tree, scratch = cloned(setting), setting.new("scratch")
    environment = ours(QUICK="1" if QUICK else "")
    environment["PATH"] = os.environ["PATH"]
    call("make", "setup", "base-parts", cwd=tree, env=environment)
    yield lambda page: Ground(tree, scratch, environment)


@contextmanager
def node(setting: Setting) -> Iterator[Lend]:
    """The same, where the built-in cluster may be brought up; at the end it is gone."""
    down = [sys.executable, "-m", "devcluster", "down"]
    with only_one(cache() / "docs-node.lock", "page that uses a node"), own_clone(setting) as lend:
        try:
            yield lend
        finally:
            subprocess.run(down, cwd=ROOT, check=False)


@contextmanager
def node_up(setting: Setting) -> Iterator[Lend]:
    """The same, where it is up, and has volumes for two claims."""
    with node(setting) as lend:
        ground = lend("")
        path = f"{ground.cwd / 'bin'}{os.pathsep}{ground.variables['PATH']}"
        environment = {**ground.variables, "PATH": path}
        call("make", "cluster", cwd=ground.cwd, env=environment)
        for number in (1, 2):
            kubectl = ("kubectl", "apply", "-f", "-")
            call(*kubectl, cwd=ground.cwd, env=environment, stdin=json.dumps(volume(number)))
        yield lambda page: Ground(ground.cwd, ground.scratch, environment)


def volume(number: int) -> dict[str, Any]:
    """A volume of the node's own disk, as a provisioner makes one elsewhere."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"docs-{number}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/var/lib/docs-{number}", "type": "DirectoryOrCreate"},
        },
    }


@contextmanager
def chaos(setting: Setting) -> Iterator[Lend]:
    """The same; the tests of `make chaos` bring up a cluster of their own."""
    with node(setting) as lend:
        yield lend


@contextmanager
def new_environment(setting: Setting) -> Iterator[Lend]:
    """A clone beside an empty virtual environment that is active."""
    tree, scratch, venv = cloned(setting), setting.new("scratch"), setting.folder / "venv"
    if QUICK:
        # Without the network: what pip would fetch is there, as the lock says.
        subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, venv], check=True)
        lock = setting.folder / "lock.txt"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        lock.write_text(
            pins_for([*project["project"]["dependencies"], *project["build-system"]["requires"]])
        )
        install = (uv(), "pip", "install", "--quiet", "--offline", "--no-deps", "--require-hashes")
        subprocess.run([*install, "--python", venv / "bin/python", "-r", lock], check=True)
        install_here = f"{uv()} pip install --offline --no-deps --no-build-isolation"
    else:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        install_here = "pip install"
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {**ours(), "PATH": path, "VIRTUAL_ENV": str(venv), "INSTALL": install_here}
    yield lambda page: Ground(tree, scratch, variables)


@contextmanager
def laptop(setting: Setting) -> Iterator[Lend]:
    """A folder with a key that signs receipts."""
    folder, scratch = setting.new("folder"), setting.new("scratch")
    make = [BIN / "stockpot", "keygen", "--out", folder / ".stockpot/signing-key.pem"]
    subprocess.run(make, check=True, capture_output=True)
    yield lambda page: Ground(folder, scratch, ours())


@contextmanager
def plug_in(setting: Setting) -> Iterator[Lend]:
    """An empty folder, and one that packages are installed into and that `stockpot` finds."""
    folder, scratch, site = setting.new("folder"), setting.new("scratch"), setting.new("site")
    install = f"{uv()} pip install --quiet --offline --no-deps --no-build-isolation"
    into = f"--python {sys.executable} --target {site}"
    variables = ours(PYTHONPATH=str(site), INSTALL=f"{install} {into}")
    yield lambda page: Ground(folder, scratch, variables)


# ---------------------------------------------------------------------------- models and stores


@contextmanager
def checkpoints(setting: Setting) -> Iterator[Lend]:
    """Checkpoints in all the forms that the page names."""
    folder, scratch = setting.new("folder"), setting.new("scratch")
    for seed, name in enumerate(("a.safetensors", "b.safetensors"), start=1):
        (folder / name).write_bytes(file_bytes(some_tensors(seed)))
    for seed, name in enumerate(("cats", "dogs"), start=3):
        (folder / name).mkdir()
        (folder / name / WEIGHTS).write_bytes(file_bytes(some_tensors(seed)))
    shapes = {"to_q.weight": (6, 5), "to_q.bias": (6,)}
    (folder / "model/unet").mkdir(parents=True)
    (folder / "model/unet" / WEIGHTS).write_bytes(file_bytes(some_tensors(5, shapes=shapes)))
    factors = {"unet.to_q.lora.down.weight": (2, 5), "unet.to_q.lora.up.weight": (6, 2)}
    for seed, name in enumerate(("cats", "dogs"), start=6):
        lora = file_bytes(some_tensors(seed, "F32", factors))
        (folder / f"{name}-lora.safetensors").write_bytes(lora)
    server = setting.s3()
    server.make("models", versioned=False)
    server.client.fput_object("models", "birds.safetensors", str(folder / "a.safetensors"))
    variables = ours(AWS_ENDPOINT_URL=server.endpoint, INTERPRETER=str(BIN / "python"))
    yield lambda page: Ground(folder, scratch, variables)


@contextmanager
def verbs(setting: Setting) -> Iterator[Lend]:
    """A clone, and a soup that has learnt a shard and not been merged."""
    with checkout(setting) as lend:
        soup = ObjectRef(namespace="default", name="emoji", uid="3f1c5d0e")
        made = Receipts(setting.new("srv"), soup)
        (made.folder / "store").mkdir()
        a_base_folder(made.folder / "base", file_bytes(some_tensors(0)))
        part = made.learn(SHARDS[0], seed=1)
        variables = {
            "STORE_URL": made.ref.url,
            "BASE_FOLDER": str(made.folder / "base"),
            "SOUP_UID": soup.uid,
            "SHARD_UID": part.shard_uid,
            "RECIPE": made.merge_spec([part]).recipe_digest,
            "TRAINING_KEY": str(key_of(SHARDS[0])),
            "WEIGHTS": part.weights_digest,
            "SCRATCH": str(setting.folder / "work"),
        }

        def lend_all(page: str) -> Ground:
            ground = lend(page)
            return Ground(ground.cwd, ground.scratch, {**ground.variables, **variables})

        yield lend_all
