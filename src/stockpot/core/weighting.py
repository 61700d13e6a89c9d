"""How much each shard weighs: the input and the output of a weighting plug-in.

A weighting is pure and exact: no float, so that the same members give the same recipe on any
machine. Others are added from outside, by an entry point in the group `stockpot.weighting`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any, Protocol

from stockpot.api.conditions import Reason
from stockpot.errors import describe, without_addresses


@dataclass(frozen=True)
class SoupMember:
    """A shard as a weighting sees it."""

    name: str
    weight: Fraction
    """Weight that its object declares."""
    records: int


@dataclass(frozen=True)
class NeedEvaluation:
    """A weighting has no answer yet: these weights have to be merged and evaluated first."""

    weights: tuple[Fraction, ...]


class Weighting(Protocol):
    """Weights for members, in their order; zero leaves one out."""

    def step(self, members: Sequence[SoupMember]) -> tuple[Fraction, ...]:
        """Weigh exactly. Only the proportions matter."""
        ...


@dataclass(frozen=True)
class UnusablePlugin:
    """A plug-in that is unknown, or that failed to load or to run."""

    message: str = "no weighting was resolved"
    help: str = ""
    reason: Reason = Reason.UNKNOWN_WEIGHTING


@dataclass(frozen=True)
class Declared:
    """Weights as the shards declare them. All 1: the uniform soup of arXiv:2203.05482."""

    def step(self, members: Sequence[SoupMember]) -> tuple[Fraction, ...]:
        """Return the declared weights."""
        return tuple(member.weight for member in members)


@dataclass(frozen=True)
class Uniform:
    """Equal weights: the fallback of a deletion where the soup's weighting is unusable."""

    def step(self, members: Sequence[SoupMember]) -> tuple[Fraction, ...]:
        """Return the weight 1 for each."""
        return tuple(Fraction(1) for _ in members)


def weigh(
    name: str, weighting: Weighting, members: Sequence[SoupMember]
) -> tuple[Fraction, ...] | UnusablePlugin:
    """Call a weighting, and check the weights that it returns.

    A weighting may come from another package, so nothing that it raises or returns stops a round.

    Args:
        name: What the Soup calls the weighting, for messages.
        weighting: The weighting to call.
        members: The members to weigh; where there are none, the weighting is not called.

    Returns:
        One weight of 0 or more for each member, in their order; or why there are none.
    """
    if not members:
        return ()
    try:
        answer: Any = weighting.step(tuple(members))
        fault = _fault_of(answer, members)
        if not fault:
            return tuple(_exact(weight) for weight in answer)
    except (Exception, SystemExit) as error:
        fault = f"it raised {describe(error)}"
    return UnusablePlugin(
        f"the weighting {name} cannot be used: {fault}",
        "repair the package that provides it, or set spec.merge.weighting.name: Declared",
        Reason.WEIGHTING_FAILED,
    )


def _fault_of(answer: Any, members: Sequence[SoupMember]) -> str:
    """Return what is wrong with a weighting's answer; empty where nothing is."""
    if not isinstance(answer, tuple | list):
        return f"it returned {type(answer).__name__}, not a tuple of weights"
    if len(answer) != len(members):
        return f"it returned {len(answer)} weights for {len(members)} shards"
    for member, weight in zip(members, answer, strict=True):
        # A float is not exact: another machine could derive another recipe.
        if not isinstance(weight, Rational) or isinstance(weight, bool):
            kind = type(weight).__name__
            shown = without_addresses(f"{weight!r:.60}")
            return f"its weight of {member.name} is {shown}, a {kind} and no Fraction or int"
        if weight < 0:
            return f"its weight of {member.name} is {weight}, below 0"
    return ""


def _exact(weight: Rational) -> Fraction:
    # Through int: numpy's integers are Rationals that overflow silently.
    return Fraction(int(weight.numerator), int(weight.denominator))
