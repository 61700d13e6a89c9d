"""Where the story takes place: what it asks of a folder of this machine, and of a cluster alike.

The story knows objects and a store; how they are reached is a venue's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from terminal import Teller

from stockpot.api.runspec import StoreRef
from stockpot.api.v1alpha1 import Soup, SoupRevision, UnlearningReceipt


@dataclass(frozen=True)
class Timing:
    """How long something took beside what it had to wait for."""

    what: str
    took_s: float
    bar_s: float
    """What it should stay below on two cores of one's own."""


class Venue(Protocol):
    """A place with one soup, its shards and its store."""

    namespace: str
    base: Path
    """The base, as this machine has it."""

    def prepare(self, teller: Teller) -> None:
        """Begin from nothing."""

    def apply(self, manifest: Path, members: Sequence[str]) -> None:
        """Apply a manifest or a folder of them, and wait until the soup is made of the members."""

    def delete(self, shard: str) -> None:
        """Delete a shard, and wait for the receipt and for the soup without it."""

    def prove(self, manifests: Path, members: Sequence[str]) -> str:
        """Apply manifests where nothing was ever trained; give the digest of what comes of it."""

    def soup(self) -> Soup:
        """The soup as it is now."""

    def revisions(self) -> tuple[SoupRevision, ...]:
        """The revisions that there are."""

    def receipts(self) -> tuple[UnlearningReceipt, ...]:
        """The receipts of the soup, in their order."""

    def endpoint(self) -> str:
        """Where the soup is served; empty while it is not."""

    def store(self) -> StoreRef:
        """The store, as this machine reaches it; credentials are in the environment."""

    def public_key(self) -> Ed25519PublicKey:
        """What receipts are checked with."""

    def timings(self) -> Sequence[Timing]:
        """What was measured on the way."""

    def expected_s(self, step: str, *, is_quick: bool) -> float | None:
        """How long a step of the story takes on two slow cores; None: nobody knows."""

    def farewell(self) -> Mapping[str, str]:
        """What there is to look at, and how to end it."""
