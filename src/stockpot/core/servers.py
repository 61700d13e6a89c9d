"""One server that answers image requests, and the grants that it may hold."""

from dataclasses import dataclass, field

from stockpot.api.chain import ChainHead
from stockpot.core.digests import Digest
from stockpot.core.recipe import Lineage
from stockpot.core.revision import NO_EPOCH, Epoch


@dataclass(frozen=True)
class HeldRevision:
    """A revision as a server names it: which, and what it was made from."""

    recipe: Digest
    lineage: Lineage


@dataclass(frozen=True)
class Server:
    """What one server said of itself. A silent one may hold anything."""

    name: str
    uid: str = ""
    """Of the pod or process; empty: it has not begun. One is never used again."""
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
    """What was drawn to ask it; its answer repeats it."""
    chain: ChainHead | None = field(default=None, compare=False)
    """Where the soup's receipts end in the store that it sees, if it has looked."""
    chain_age_s: float = field(default=0.0, compare=False)
    """How long ago it looked."""

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer, so that nobody knows what it holds."""
        return not self.answers


@dataclass(frozen=True)
class ServerGrant:
    """A server whose first grant was about to be sent: it may hold anything until its end."""

    name: str
    uid: str
    node: str = ""
