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
    """A recipe that was merged."""

    recipe: Recipe
    weights: Digest

    @property
    def lineage(self) -> Lineage:
        """The ingredients that it is a function of."""
        return self.recipe.lineage


@dataclass(frozen=True)
class Promotion:
    """The word that a revision is to be served, under an epoch above all others."""

    revision: Revision
    epoch: Epoch
    number: int
    """How many promotions of soups the Soup has seen; 0 for the base."""
