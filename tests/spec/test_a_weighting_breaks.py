"""A weighting may come from another package: whatever it does, no round of its soup stops."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tests.spec.vocabulary import *


@dataclass(frozen=True)
class Plugin:
    """A weighting of somebody else's."""

    answer: Callable[[Sequence[SoupMember]], Any]

    def step(self, members: Sequence[SoupMember]) -> Any:
        return self.answer(members)


class BadError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class BadRepr(float):
    def __repr__(self) -> str:
        raise RuntimeError


def raising(error: BaseException) -> Callable[[Sequence[SoupMember]], Any]:
    def answer(_: Sequence[SoupMember]) -> Any:
        raise error

    return answer


BROKEN: dict[str, tuple[Callable[[Sequence[SoupMember]], Any], str]] = {
    "raises": (raising(ValueError("no\ndata")), "it raised ValueError: no data"),
    "raises-nothing-to-read": (raising(KeyError()), "it raised KeyError"),
    "raises-what-has-no-text": (raising(BadError()), "it raised BadError"),
    "exits": (lambda _: sys.exit("bye"), "it raised SystemExit: bye"),
    "recurses": (lambda m: Plugin(BROKEN["recurses"][0]).step(m), "it raised RecursionError"),
    "writes-to-the-members": (lambda m: m.append(1), "it raised AttributeError"),  # type: ignore[attr-defined]
    "none": (lambda _: None, "it returned NoneType, not a tuple of weights"),
    "text": (lambda _: "11", "it returned str, not a tuple of weights"),
    "a-generator": (lambda m: (1 for _ in m), "it returned generator, not a tuple of weights"),
    "too-few": (lambda _: (1,), "it returned 1 weights for 2 shards"),
    "too-many": (lambda _: (1, 1, 1), "it returned 3 weights for 2 shards"),
    "negative": (lambda _: (1, Fraction(-1, 3)), "its weight of dogs is -1/3, below 0"),
    "float": (lambda _: (0.5, 0.5), "its weight of cats is 0.5, a float and no Fraction or int"),
    "nan": (lambda _: (1, float("nan")), "its weight of dogs is nan, a float"),
    "infinite": (lambda _: (1, float("inf")), "its weight of dogs is inf, a float"),
    "decimal": (lambda _: (Decimal("0.5"), 1), "its weight of cats is Decimal('0.5'), a Decimal"),
    "truth": (lambda _: (True, 1), "its weight of cats is True, a bool"),
    "nothing": (lambda _: (1, None), "its weight of dogs is None, a NoneType"),
    "words": (lambda _: ("1", "2"), "its weight of cats is '1', a str"),
    "unprintable": (lambda _: (BadRepr(1), 1), "it raised RuntimeError"),
    "too-far-apart": (lambda _: (1, Fraction(1, 10**30)), "larger than 9007199254740991"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_additions_wait_and_the_soup_is_stalled_with_what_the_weighting_did(case: str) -> None:
    answer, words = BROKEN[case]
    soup = a_soup().of("cats").with_fields(weighting=Plugin(answer), weighting_name="Mine")
    world = a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained())

    assessment = check(world, NOON)

    assert actions_for(world) == ()
    [stalled] = [
        update
        for update in report_of(assessment).soup.conditions
        if update.type is ConditionType.STALLED
    ]
    assert (stalled.so, stalled.reason) == (True, Reason.WEIGHTING_FAILED)
    assert stalled.message.startswith("the weighting Mine cannot be used: ")
    assert words in stalled.message
    assert "; help: " in stalled.message


@pytest.mark.parametrize("case", BROKEN)
def test_a_deletion_goes_on_and_the_survivors_weigh_the_same(case: str) -> None:
    soup = a_soup().of("ants", "bees", "cats").with_fields(weighting=Plugin(BROKEN[case][0]))
    gone = a_shard("ants").trained().tombstoned()
    rest = (a_shard(name).trained() for name in ("bees", "cats", "dogs"))
    heavy = a_shard("eels").trained().weighing("7")

    # Neither dogs nor eels were in the soup: they wait until the weighting is mended.
    assert actions_for(a_world(soup, gone, *rest, heavy)) == (StartMerge(a_recipe("bees", "cats")),)


def test_the_last_shard_leaves_though_the_weighting_cannot_weigh_nothing() -> None:
    soup = a_soup().of("dogs").with_fields(weighting=Plugin(lambda m: (Fraction(1, len(m)),)))
    world = a_world(soup, a_shard("dogs").trained().tombstoned())

    assert actions_for(world) == (StartMerge(Recipe()),)


@pytest.mark.parametrize("answer", [(1, 3), [1, 3], (Fraction(1, 3), 1), np.array([1, 3]).tolist()])
def test_exact_weights_of_any_kind_are_taken(answer: Any) -> None:
    assert [part.weight for part in recipe_by(answer).parts] == [1, 3]


def test_integers_of_numpy_do_not_overflow() -> None:
    weights = (np.int32(2**30), Fraction(1, 3**13))

    assert [part.weight for part in recipe_by(weights).parts] == [2**30 * 3**13, 1]


def test_declared_weights_of_too_many_digits_stop_no_round_either() -> None:
    world = a_world(
        a_soup().of("ants", "cats"),
        a_shard("ants").trained().tombstoned(),
        a_shard("cats").trained().weighing("999999999.999999999"),
        a_shard("dogs").trained().weighing("0.5"),
    )

    assert actions_for(world) == (StartMerge(a_recipe("cats")),)


def recipe_by(answer: Any) -> Recipe:
    soup = a_soup().of().with_fields(weighting=Plugin(lambda _: answer))
    recipe = check(
        a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained()), NOON
    ).inputs.recipe
    assert isinstance(recipe, Recipe)
    return recipe


def weightless() -> World:
    soup = a_soup().of().with_fields(weighting=Plugin(lambda m: (0,) * len(m)))
    soup = soup.with_fields(weighting_name="Mine")
    return a_world(soup, a_shard("cats").trained(), a_shard("dogs").trained())


def test_where_all_weigh_nothing_the_base_is_served_and_the_soup_says_so() -> None:
    world = weightless()

    updates = {update.type: update for update in report_of(check(world, NOON)).soup.conditions}

    assert actions_for(world) == ()
    for kind in (ConditionType.READY, ConditionType.SERVING):
        assert (updates[kind].so, updates[kind].reason) == (True, Reason.WEIGHTLESS)
        assert (
            "the weighting Mine gives every shard the weight 0 (cats, dogs)"
            in updates[kind].message
        )


def test_a_soup_without_shards_is_not_weightless() -> None:
    updates = report_of(check(a_world(a_soup().of()), NOON)).soup.conditions

    assert Reason.WEIGHTLESS not in {update.reason for update in updates}
