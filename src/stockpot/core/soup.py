"""One Soup: its settings, and what its status records."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from stockpot.core.digests import Digest
from stockpot.core.revision import NO_EPOCH, Epoch, Promotion, Revision
from stockpot.core.servers import ServerGrant
from stockpot.core.weighting import UnusablePlugin, Weighting

SoupUID = NewType("SoupUID", str)


@dataclass(frozen=True)
class LastRescan:
    """The last look for what came back of what was forgotten."""

    number: int
    at: datetime
    quiet: int
    """How many of the last looks, one after the other, found nothing."""
    unrecorded: tuple[int, ...] = ()
    """Receipts, by sequence, that the store had then and that had no object."""


@dataclass(frozen=True)
class Soup:
    """The Soup object."""

    uid: SoupUID
    name: str
    alive: bool = True
    """Its object is not being deleted."""
    held: bool = True
    """It has our finalizer, so that it cannot go before its shards are forgotten."""
    receipts: int = 0
    """The number of the last receipt that its status, or a receipt's object, knows."""
    head: Digest | None = None
    """Of the last receipt that its status knows."""
    collection: LastRescan | None = None
    """None: nobody has looked yet."""
    suspended: bool = False
    min_shards: int = 1
    settle_s: int = 0
    parallelism: int = 2
    max_attempts: int = 3
    output: str = "fp16"
    weighting: Weighting | UnusablePlugin = field(default_factory=UnusablePlugin)
    weighting_name: str = ""
    """The name of the weighting in the Soup, for messages."""
    unknown: UnusablePlugin | None = None
    """Why no shard can be trained: the soup names a method or an option that there is not."""
    evaluates: bool = False
    replicas: int = 1
    base: Digest | None = None
    """Declared, or recorded at first use; never allowed to drift."""
    current: Promotion | None = None
    epoch: Epoch = NO_EPOCH
    """Of the last promotion, though its revision's object be gone."""
    promotions: int = 0
    """How many times a soup, rather than the base, was promoted."""
    made: tuple[Revision, ...] = ()
    evaluated: frozenset[Digest] = frozenset()
    """Recipes whose figures are known."""
    deadline_s: int = 3600
    """How long an unlearning waits for what does not answer."""
    scales_to_zero: bool = False
    """Whether nobody serves any more once the last shard is gone."""
    granted: tuple[ServerGrant, ...] = ()
    """Every server that was ever granted anything, and whose end was not seen to be confirmed."""
