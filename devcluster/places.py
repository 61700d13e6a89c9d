"""Where things lie: what can be made again in the cache, a cluster's own in its state."""

import os
from dataclasses import dataclass
from pathlib import Path

from devcluster.problem import Problem

REPOSITORY = Path(__file__).resolve().parent.parent

DEFAULT_NAME = "stockpot"

HIDDEN = ("/run", "/var/run", "/var/lib", "/var/log")
"""What a cluster has of its own under the same name, and where its state can therefore not be."""

_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def cache() -> Path:
    """Give the folder of what any clone on this machine may use again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stockpot"


def states() -> Path:
    """Give the folder of all clusters' states."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "stockpot" / "devcluster"


@dataclass(frozen=True)
class Places:
    """Where one cluster keeps what is its own."""

    name: str
    state: Path

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster. Not in its state: `down` removes that."""
        return cache() / f"devcluster-{self.name}.lock"

    @property
    def network(self) -> str:
        """The name of its network namespace, and of its cgroup."""
        return f"stockpot-{self.name}"

    @property
    def network_file(self) -> Path:
        """What `ip netns` and `nsenter --net` know the namespace by."""
        return Path("/var/run/netns") / self.network

    @property
    def keys(self) -> Path:
        """Certificates, keys and tokens."""
        return self.state / "keys"

    @property
    def logs(self) -> Path:
        """One file a program."""
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        """For programs of this machine: reaches the cluster through a forwarder."""
        return self.state / "kubeconfig"

    @property
    def inner_kubeconfig(self) -> Path:
        """For programs in the cluster's network namespace."""
        return self.state / "kubeconfig.inner"

    @property
    def code(self) -> Path:
        """What pods see of this repository: src/ and site/."""
        return self.state / "code"

    @property
    def volumes(self) -> Path:
        """A file for each folder of the machine that pods can claim."""
        return self.state / "volumes"

    @property
    def mounts(self) -> Path:
        """Those folders as pods see them: mounted here, read-only, in the cluster's eyes alone."""
        return self.state / "mounts"

    @property
    def forwards(self) -> Path:
        """A file for each forwarder that runs."""
        return self.state / "forwards"


def places(name: str) -> Places:
    """Give the places of the cluster of that name.

    Raises:
        Problem: A name that could not be a file's and a network namespace's, or a state folder
            that the cluster could not see.
    """
    if not 1 <= len(name) <= 20 or not set(name) <= _WORDS or name.strip("-") != name:
        raise Problem(
            f"{name!r} is no name for a cluster",
            help="use up to 20 small letters, digits and inner hyphens",
        )
    state = states() / name
    if any(state.is_relative_to(hidden) for hidden in HIDDEN):
        raise Problem(
            f"the state of a cluster cannot lie in {state}: it has its own {state.parents[-3]}",
            help="set XDG_STATE_HOME to a folder elsewhere",
        )
    return Places(name, state)


def write(path: Path, text: str) -> None:
    """Write a file that only root reads: the whole of it, or nothing under its name."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.chmod(0o600)
    part.rename(path)
