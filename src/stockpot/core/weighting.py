"""How much each shard weighs: what a weighting is told, and what it answers.

A weighting is pure and exact: no float, so that the same members give the same recipe on any
machine. Others are added from outside, by an entry point in the group `stockpot.weighting`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol


@dataclass(frozen=True)
class Member:
    """A shard as a weighting sees it."""

    name: str
    weight: Fraction
    """What its object declares."""
    records: int


@dataclass(frozen=True)
class NeedEvaluation:
    """A weighting cannot say yet: it wants these weights merged and evaluated first."""

    weights: tuple[Fraction, ...]


class Weighting(Protocol):
    """Weights for members, in their order; zero leaves one out."""

    def step(self, members: Sequence[Member]) -> tuple[Fraction, ...]:
        """Weigh exactly. Only the proportions matter."""
        ...


@dataclass(frozen=True)
class Unusable:
    """A name that nothing here is known by, or something that broke on being loaded."""

    message: str = "no weighting was resolved"
    help: str = ""


@dataclass(frozen=True)
class Declared:
    """What the shards say. All 1, the uniform soup of Wortsman et al. 2022 (arXiv:2203.05482)."""

    def step(self, members: Sequence[Member]) -> tuple[Fraction, ...]:
        """Take each shard at its word."""
        return tuple(member.weight for member in members)


@dataclass(frozen=True)
class Uniform:
    """All the same. What a deletion falls back on where the soup's weighting is unusable."""

    def step(self, members: Sequence[Member]) -> tuple[Fraction, ...]:
        """Give each the same."""
        return tuple(Fraction(1) for _ in members)
