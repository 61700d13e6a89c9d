"""One server that answers image requests, and the grants that it may hold."""

from dataclasses import dataclass, field

from stockpot.api.chain import ChainHead
from stockpot.core.digests import Digest
from stockpot.core.recipe import Lineage
from stockpot.core.revision import NO_EPOCH, Epoch


@dataclass(frozen=True)
class HeldRevision:
    """A revision that a server holds: its recipe, and the lineage of it."""

    recipe: Digest
    lineage: Lineage


@dataclass(frozen=True)
class Server:
    """What one server reports. A server that does not answer may hold anything."""

    name: str
    uid: str = ""
    """UID of the pod or process, never reused; empty where it has not started."""
    node: str = ""
    boot: str = ""
    answers: bool = True
    ready: bool = False
    epoch: Epoch = NO_EPOCH
    granted: Digest | None = None
    """The recipe that its last accepted grant named."""
    prepared: Digest | None = None
    serving: Digest | None = None
    holds: frozenset[HeldRevision] = frozenset()
    problem: str = ""
    nonce: str = field(default="", compare=False)
    """Random value of the request, which the answer repeats."""
    chain: ChainHead | None = field(default=None, compare=False)
    """Head of the soup's receipt chain in the store, as the server last read it."""
    chain_age_s: float = field(default=0.0, compare=False)
    """How long ago the server read it, in seconds."""

    @property
    def is_silent(self) -> bool:
        """Whether the server does not answer, so that it is unknown what it holds."""
        return not self.answers


@dataclass(frozen=True)
class ServerGrant:
    """A server that is recorded before its first grant: until its end it may hold anything."""

    name: str
    uid: str
    node: str = ""
