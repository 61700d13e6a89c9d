"""What a round needs of the world, in our own words. A cluster and a folder each fill these.

Every port speaks of one soup. `fresh` asks to look past every cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from stockpot.api.runspec import Ending, Location, RunSpec, ServeRun, StoreRef
from stockpot.api.source import Source
from stockpot.api.v1alpha1 import DataShard, Soup, SoupRevision, UnlearningReceipt
from stockpot.core.recipe import Lineage
from stockpot.core.revision import Promotion
from stockpot.core.runs import Run, RunName, StartupBlocker
from stockpot.core.servers import Server, ServerGrant


class SoupKey(NamedTuple):
    """The name of a soup: what events name, and what is worked on alone."""

    namespace: str
    name: str


@dataclass(frozen=True)
class ObservedObjects:
    """The objects of one soup, as they were read."""

    soup: Soup | None
    """None: shards name a soup that is not there."""
    shards: tuple[DataShard, ...] = ()
    revisions: tuple[SoupRevision, ...] = ()
    receipts: tuple[UnlearningReceipt, ...] = ()
    namespace_terminates: bool = False
    """The API server refused to create an object, because the namespace is being deleted."""


class Objects(Protocol):
    """The API's objects."""

    def read(self, *, fresh: bool) -> ObservedObjects:
        """Read the soup and all that belongs to it."""
        ...

    def change_soup(self, edit: Callable[[Soup], Soup]) -> None:
        """Replace the soup by what the edit makes of its newest form; same again: no write."""
        ...

    def change_shard(self, uid: str, edit: Callable[[DataShard], DataShard]) -> None:
        """Replace a shard by what the edit makes of its newest form; nothing where it is gone.

        A shard that is being deleted goes as soon as it has no finalizer.
        """
        ...

    def change_revision(self, name: str, edit: Callable[[SoupRevision], SoupRevision]) -> None:
        """Replace a revision by what the edit makes of its newest form."""
        ...

    def create(self, new: SoupRevision | UnlearningReceipt) -> None:
        """Store an object, unless it is there already.

        A receipt gets a longer name where another one has its name. Where the namespace terminates
        nothing is stored, and `read` says so from then on.

        Raises:
            Refused: Other objects have both names.
        """
        ...

    def delete_revision(self, name: str) -> None:
        """Remove a revision's object; nothing happens where there is none."""
        ...

    def flush(self) -> None:
        """Write what was changed and is not written yet: changes of one object go together."""
        ...


class Runs(Protocol):
    """Workloads that end."""

    def list(self, *, fresh: bool) -> tuple[Run, ...]:
        """See every run of the soup that exists, running or ended."""
        ...

    def start(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start it, unless one of the name exists."""
        ...

    def end(self, name: RunName) -> None:
        """End it, wait for its last process, and forget it; nothing where there is none."""
        ...


@dataclass(frozen=True)
class ObservedServers:
    """What was seen of the servers."""

    replicas: int = 0
    """How many were asked for."""
    servers: tuple[Server, ...] = ()
    """Every one that ever began, and whose end nobody has confirmed."""
    is_as_told: bool = True
    ended: frozenset[str] = frozenset()
    """UIDs of granted servers whose end is confirmed, by whoever runs them."""
    endings: Mapping[str, Ending] = field(default_factory=dict)
    """By what it is."""
    startup_blocker: StartupBlocker | None = None
    """Why those that were asked for cannot start."""


class Servers(Protocol):
    """Who answers requests."""

    def ask(self, granted: Sequence[ServerGrant], *, fresh: bool) -> ObservedServers:
        """See how many were asked for, what each says of itself, and who has ended.

        Args:
            granted: Those that were ever granted anything, as the Soup has them.
            fresh: Look past every cache.
        """
        ...

    def scale(self, replicas: int, spec: ServeRun) -> None:
        """Have so many."""
        ...

    def prepare(self, server: str, boot: str, promotion: Promotion) -> None:
        """Send a grant to be prepared; a server that refuses or is silent is asked again later."""
        ...

    def commit(self, server: str, boot: str, promotion: Promotion) -> None:
        """Send a grant to be served."""
        ...


class Environment(Protocol):
    """What the admin declared: where things are."""

    @property
    def store(self) -> StoreRef:
        """Where artefacts lie."""
        ...

    @property
    def signing_key(self) -> str:
        """Path of the key, as the sign run sees it."""
        ...

    def locate(self, source: Source) -> Location:
        """Say where a source's folder is, as a run sees it.

        Raises:
            Refused: The place that the source names is not known here.
        """
        ...


@dataclass(frozen=True)
class Ports:
    """All that a round needs."""

    objects: Objects
    runs: Runs
    servers: Servers
    surroundings: Environment
    now: Callable[[], datetime]
