"""A weighting plug-in that fails in the way that its option `fault` names."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from stockpot.core.weighting import SoupMember

PACKAGE = "from tests.simulate.faulty_weighting import FaultyWeighting"
"""Source of the package that provides it."""

Answer = Callable[[Sequence[SoupMember]], Any]


def _raises(_: Sequence[SoupMember]) -> Any:
    raise ValueError("it always raises")


_ANSWERS: Mapping[str, Answer] = {
    "raises": _raises,
    "none": lambda _: None,
    "short": lambda members: (1,) * (len(members) - 1),
    "negative": lambda members: (-1,) * len(members),
    "float": lambda members: (0.5,) * len(members),
    "far apart": lambda members: tuple(Fraction(1, 10 ** (20 * n)) for n in range(len(members))),
    "nothing": lambda members: (0,) * len(members),
    "for two": lambda members: (1, 1) if len(members) == 2 else None,
}
FAULTS = (*sorted(_ANSWERS), "on being made")


class FaultyWeighting:
    def __init__(self, fault: str) -> None:
        self._answer = _ANSWERS[fault]

    def step(self, members: Sequence[SoupMember]) -> Any:
        return self._answer(members)
