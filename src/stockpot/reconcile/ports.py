"""The interfaces that a reconcile round uses; a cluster and local mode each implement them.

Every port is for one soup. `fresh` bypasses every cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.runspec import Location, RunSpec, ServeRun, StoreRef
from stockpot.api.server_reports import Ending
from stockpot.api.source import Source
from stockpot.api.v1alpha1 import (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningDebt,
    UnlearningReceipt,
)
from stockpot.core.recipe import Lineage
from stockpot.core.revision import Promotion
from stockpot.core.runs import Run, RunName, StartupBlocker
from stockpot.core.servers import Server, ServerGrant


class SoupKey(NamedTuple):
    """The name of a soup: the key of events and of the work queue."""

    namespace: str
    name: str


@dataclass(frozen=True)
class ObservedObjects:
    """The objects of one soup, as they were read."""

    soup: Soup | None
    """The soup; None if shards name a missing soup."""
    shards: tuple[DataShard, ...] = ()
    revisions: tuple[SoupRevision, ...] = ()
    receipts: tuple[UnlearningReceipt, ...] = ()
    namespace_terminates: bool = False
    """Whether the namespace is being deleted, so that no object can be created in it."""
    is_soup_gone: bool = False
    """Whether the soup's object is gone: `soup` is what its debts say of it."""
    debts: tuple[UnlearningDebt, ...] | None = None
    """The soup's debts, paid ones too. None where there is no place for any, as in local mode."""


class Objects(Protocol):
    """The port to the API's objects."""

    def read(self, *, fresh: bool) -> ObservedObjects:
        """Read the soup, its shards, revisions and receipts."""
        ...

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Apply an edit to the newest version of the soup; write only a difference."""
        ...

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Apply an edit to the newest version of a shard, if it exists.

        A shard that is being deleted is removed as soon as it has no finalizer.
        """
        ...

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Apply an edit to the newest version of a revision."""
        ...

    def create(self, new: SoupRevision | UnlearningReceipt | UnlearningDebt) -> None:
        """Create an object, unless it exists.

        A receipt gets a longer name if another object has its name. If the namespace terminates,
        nothing is created, and `read` reports it from then on. A debt is created in the operator's
        own namespace.

        Raises:
            Refused: Other objects have both names.
        """
        ...

    def delete_revision(self, name: str) -> None:
        """Delete a revision's object, if it exists."""
        ...

    def flush(self) -> None:
        """Write pending changes: those of one object go together."""
        ...


class Runs(Protocol):
    """The port to runs that end by themselves."""

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        """List every run of the soup, running or ended."""
        ...

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start a run, unless one of the name exists."""
        ...

    def end(self, name: RunName) -> None:
        """Stop a run, wait for its last process, and remove it, if it exists."""
        ...


@dataclass(frozen=True)
class ObservedServers:
    """The observed servers."""

    replicas: int = 0
    """Number of servers that were requested."""
    servers: tuple[Server, ...] = ()
    """All servers that were started and whose end is not confirmed."""
    is_as_declared: bool = True
    is_rolled_out: bool = True
    """Whether no server of an earlier pod template is left."""
    ended: frozenset[str] = frozenset()
    """UIDs of granted servers whose end is confirmed."""
    endings: Mapping[str, Ending] = field(default_factory=dict)
    """The evidence of each end, by UID."""
    startup_blocker: StartupBlocker | None = None
    """Why requested servers cannot start."""


class Servers(Protocol):
    """The port to the servers."""

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        """Observe the requested number, the state of each server, and confirmed ends.

        Args:
            granted: All servers that were ever granted a revision, from the Soup's status.
            fresh: Bypass every cache.
        """
        ...

    def scale(self, replicas: int, spec: ServeRun | None) -> None:
        """Set the number of servers.

        Args:
            replicas: The number.
            spec: How a server starts. None where only the number changes, of a soup that is being
                deleted: its store may not be declared any more.
        """
        ...

    def prepare(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to prepare; after a refusal or silence a later round sends it again."""
        ...

    def commit(self, server: str, instance_id: str, promotion: Promotion) -> None:
        """Send a grant to commit: the server serves it from the next request on."""
        ...


class Environment(Protocol):
    """The locations that the admin declared."""

    @property
    def store(self) -> StoreRef:
        """The store of artefacts."""
        ...

    @property
    def signing_key(self) -> str:
        """Path of the signing key inside the sign run."""
        ...

    @property
    def grant_keys(self) -> tuple[str, ...]:
        """The public keys of which one signs each grant; none if grants are not signed."""
        ...

    def namespace(self) -> NamespaceRef:
        """Return the namespace of the soup, as an object."""
        ...

    def locate(self, source: Source) -> Location:
        """Return the location of a source's folder inside a run.

        Raises:
            Refused: The location that the source names is not known here.
        """
        ...


@dataclass(frozen=True)
class Ports:
    """The ports of a reconcile round."""

    objects: Objects
    runs: Runs
    servers: Servers
    environment: Environment
    now: Callable[[], datetime]
