"""Which way a recipe is merged."""

import itertools
import random
from fractions import Fraction

from stockpot.merging.formats import BF16, F16, F32
from stockpot.merging.strategy import IngredientKey, is_cheaper, is_worth_keeping, step_between


def recipe(**weights: int) -> dict[IngredientKey, int]:
    return {IngredientKey(name, "key", "digest"): weight for name, weight in weights.items()}


def read(old: dict[IngredientKey, int], new: dict[IngredientKey, int]) -> tuple[str, ...]:
    return tuple(one.shard_uid for one in step_between(old, new)[1])


def test_a_change_of_one_reads_that_one() -> None:
    assert read(recipe(a=1, b=1), recipe(a=1, b=1, c=1)) == ("c",)
    assert read(recipe(a=1, b=1, c=1), recipe(a=1, b=1)) == ("c",)
    assert read(recipe(a=1, b=1, c=1), recipe(a=1, b=1, d=1)) == ("c", "d")


def test_one_weight_that_scales_all_others_reads_one() -> None:
    halved, _ = step_between(recipe(a=1, b=1, c=1), recipe(a=2, b=2, c=1))
    back, _ = step_between(recipe(a=2, b=2, c=1), recipe(a=1, b=1, c=1))

    assert (halved.times, halved.divisor, halved.weights) == (2, 1, (-1,))
    assert (back.times, back.divisor, back.weights) == (1, 2, (1,))


def test_a_shard_trained_anew_is_another_ingredient() -> None:
    old = {IngredientKey("a", "key", "1"): 1, IngredientKey("b", "key", "1"): 1}
    new = {IngredientKey("a", "key", "2"): 1, IngredientKey("b", "key", "1"): 1}

    step, names = step_between(old, new)

    assert [name.weights_digest for name in names] == ["1", "2"]
    assert (step.weights, step.joins) == ((-1, 1), (-1, 1))


def test_a_step_says_the_truth_about_any_two_recipes() -> None:
    dice = random.Random(1)
    for _ in range(300):
        old, new = (
            recipe(
                **{one: dice.randint(1, 30) for one in "abcdef" if dice.random() < 0.7} or {"a": 1}
            )
            for _ in range(2)
        )
        step, names = step_between(old, new)
        values = {one: Fraction(dice.randint(-99, 99)) for one in {*old, *new}}
        before = sum(values[one] * weight for one, weight in old.items())
        added = sum(values[one] * d for one, d in zip(names, step.weights, strict=True))
        after = sum(values[one] * weight for one, weight in new.items())
        assert (step.times * before + added) / step.divisor == after
        assert 0 not in step.weights
        assert len(old) + sum(step.joins) == step.members == len(new)
        assert step.total == sum(new.values())


def test_sums_are_gone_by_where_they_move_fewer_bytes() -> None:
    assert is_cheaper(440, 1, 32, 220)
    assert is_cheaper(440, 1, 6, 220)
    assert not is_cheaper(440, 1, 5, 220)
    assert not is_cheaper(440, 28, 32, 220)


def test_sums_are_kept_where_the_next_change_is_cheaper_for_them() -> None:
    worth = {
        (form.name, total): next(n for n in itertools.count(1) if is_worth_keeping(n, total, form))
        for form in (F16, BF16, F32)
        for total in (32, 10**6 - 1)
    }

    assert worth == {
        ("F16", 32): 6,
        ("F16", 999_999): 10,
        ("BF16", 32): 10,
        ("BF16", 999_999): 10,
        ("F32", 32): 6,
        ("F32", 999_999): 6,
    }
    assert not is_worth_keeping(10_000, 1 << 20, F32)


def test_what_float64_cannot_prove_is_not_tried() -> None:
    heavy, _ = step_between({}, recipe(a=(1 << 28) - 1, b=1))
    light, _ = step_between({}, recipe(a=(1 << 28) - 2, b=1))

    assert light.fits(F32, F32)
    assert not heavy.fits(F32, F32)
    assert heavy.fits(F16, F16)
    assert light.plain(F16) is False
    assert step_between({}, recipe(a=8000, b=192))[0].plain(F16)
    assert not step_between({}, recipe(a=8000, b=193))[0].plain(F16)
    assert not step_between({}, recipe(a=1))[0].plain(BF16)
