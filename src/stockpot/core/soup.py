"""One Soup: its settings, and what its status records."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from stockpot.core.digests import Digest
from stockpot.core.retry import NO_REQUEST, RetryRequest
from stockpot.core.revision import NO_EPOCH, Epoch, Promotion, Revision
from stockpot.core.servers import ServerGrant
from stockpot.core.weighting import UnusablePlugin, Weighting

SoupUID = NewType("SoupUID", str)


@dataclass(frozen=True)
class LastRescan:
    """The last rescan of the store for resurrected artifacts."""

    number: int
    at: datetime
    quiet: int
    """How many rescans in a row, up to this one, removed nothing."""
    unrecorded: tuple[int, ...] = ()
    """Sequences of receipts that the store had then and that had no object."""


@dataclass(frozen=True)
class Soup:
    """The Soup object."""

    uid: SoupUID
    name: str
    alive: bool = True
    """Its object is not being deleted, or has trained shards that are not: it goes on serving."""
    is_ending: bool = False
    """Its object is being deleted, and goes on serving until its trained shards are as well."""
    is_forced: bool = False
    """It is being deleted with the annotation `force-delete`: it may go before the end."""
    is_gone: bool = False
    """Its object is gone: an UnlearningDebt stands in for it."""
    held: bool = True
    """It has our finalizer, so that its object cannot go before its shards are unlearned."""
    receipts: int = 0
    """Sequence of the last receipt that the status or a receipt's object names."""
    head: Digest | None = None
    """Digest of the last receipt that the status names."""
    last_rescan: LastRescan | None = None
    """None where there was no rescan yet."""
    suspended: bool = False
    min_shards: int = 1
    settle_s: int = 0
    refuses_overlaps: bool = False
    """Whether a shard with records of others does not join."""
    parallelism: int = 2
    max_attempts: int = 3
    output: str = "fp16"
    weighting: Weighting | UnusablePlugin = field(default_factory=UnusablePlugin)
    weighting_name: str = ""
    """The name of the weighting in the Soup, for messages."""
    unknown: UnusablePlugin | None = None
    """Why no shard can be trained: the soup names an unknown method or option."""
    evaluates: bool = False
    unusable_evaluation: UnusablePlugin | None = None
    """Why no revision can be evaluated: the suite names an unknown evaluator or option."""
    replicas: int = 1
    base: Digest | None = None
    """Declared, or recorded at first use; never allowed to drift."""
    current: Promotion | None = None
    epoch: Epoch = NO_EPOCH
    """Epoch of the last promotion, even where the object of its revision is gone."""
    promotions: int = 0
    """How often a soup, rather than the base, was promoted."""
    made: tuple[Revision, ...] = ()
    evaluated: frozenset[Digest] = frozenset()
    """Digests of recipes that were evaluated."""
    deadline_s: int = 3600
    """How long an unlearning waits for servers and runs that do not answer, in seconds."""
    scales_to_zero: bool = False
    """Whether the soup has no servers once its last shard is gone."""
    retry: RetryRequest = NO_REQUEST
    """The request to try its failed merge or evaluation again."""
    granted: tuple[ServerGrant, ...] = ()
    """Servers that were ever granted anything and whose end is not confirmed."""

    @property
    def is_being_deleted(self) -> bool:
        """Whether its object is being deleted, or is gone, whether or not it still serves."""
        return self.is_ending or not self.alive

    @property
    def holds_additions(self) -> bool:
        """Whether nothing new is trained or joins."""
        return self.suspended or self.is_ending
