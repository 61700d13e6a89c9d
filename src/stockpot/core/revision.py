"""A merged recipe (a revision), and its promotion to be served under an epoch."""

from dataclasses import dataclass
from typing import NewType

from stockpot.core.digests import Digest
from stockpot.core.recipe import Lineage, Recipe

Epoch = NewType("Epoch", int)
NO_EPOCH = Epoch(0)
"""Below every promotion: nothing was promoted or granted yet."""


@dataclass(frozen=True)
class Revision:
    """A recipe that was merged, with the digest of the result."""

    recipe: Recipe
    weights: Digest

    @property
    def lineage(self) -> Lineage:
        """The ingredients that it was merged from."""
        return self.recipe.lineage


@dataclass(frozen=True)
class Promotion:
    """The decision to serve a revision, under an epoch above all earlier ones."""

    revision: Revision
    epoch: Epoch
    number: int
    """How many soups were promoted so far; 0 for the base."""
