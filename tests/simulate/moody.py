"""A weighting of another package that breaks in any way that there is, by its option `mood`."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from stockpot.core.weighting import SoupMember

PACKAGE = "from tests.simulate.moody import Moody"
"""The module of a package that brings it."""

Answer = Callable[[Sequence[SoupMember]], Any]


def _raises(_: Sequence[SoupMember]) -> Any:
    raise ValueError("it is not in the mood")


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
MOODS = (*sorted(_ANSWERS), "on being made")


class Moody:
    def __init__(self, mood: str) -> None:
        self._answer = _ANSWERS[mood]

    def step(self, members: Sequence[SoupMember]) -> Any:
        return self._answer(members)
