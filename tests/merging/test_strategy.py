"""Whether a recipe is merged from scratch or from sums, and the step between two recipes."""

import itertools
import random
from fractions import Fraction

from stockpot.merging.formats import BF16, F16, F32
from stockpot.merging.strategy import IngredientKey, is_cheaper, is_worth_keeping, step_between


def recipe(**weights: int) -> dict[IngredientKey, int]:
    return {IngredientKey(name, "key", "digest"): weight for name, weight in weights.items()}


def read(old: dict[IngredientKey, int], new: dict[IngredientKey, int]) -> tuple[str, ...]:
    return tuple(name.shard_uid for name in step_between(old, new)[1])


def test_a_step_reads_only_the_changed_ingredient() -> None:
    assert read(recipe(a=1, b=1), recipe(a=1, b=1, c=1)) == ("c",)
    assert read(recipe(a=1, b=1, c=1), recipe(a=1, b=1)) == ("c",)
    assert read(recipe(a=1, b=1, c=1), recipe(a=1, b=1, d=1)) == ("c", "d")


def test_a_weight_that_scales_all_others_reads_one_ingredient() -> None:
    halved, _ = step_between(recipe(a=1, b=1, c=1), recipe(a=2, b=2, c=1))
    back, _ = step_between(recipe(a=2, b=2, c=1), recipe(a=1, b=1, c=1))

    assert (halved.times, halved.divisor, halved.weights) == (2, 1, (-1,))
    assert (back.times, back.divisor, back.weights) == (1, 2, (1,))


def test_a_retrained_shard_is_another_ingredient() -> None:
    old = {IngredientKey("a", "key", "1"): 1, IngredientKey("b", "key", "1"): 1}
    new = {IngredientKey("a", "key", "2"): 1, IngredientKey("b", "key", "1"): 1}

    step, names = step_between(old, new)

    assert [name.weights_digest for name in names] == ["1", "2"]
    assert (step.weights, step.joins) == ((-1, 1), (-1, 1))


def test_a_step_is_exact_between_any_two_recipes() -> None:
    dice = random.Random(1)
    for _ in range(300):
        old, new = (
            recipe(
                **{name: dice.randint(1, 30) for name in "abcdef" if dice.random() < 0.7}
                or {"a": 1}
            )
            for _ in range(2)
        )
        step, names = step_between(old, new)
        values = {name: Fraction(dice.randint(-99, 99)) for name in {*old, *new}}
        before = sum(values[name] * weight for name, weight in old.items())
        added = sum(values[name] * d for name, d in zip(names, step.weights, strict=True))
        after = sum(values[name] * weight for name, weight in new.items())
        assert (step.times * before + added) / step.divisor == after
        assert 0 not in step.weights
        assert len(old) + sum(step.joins) == step.members == len(new)
        assert step.total == sum(new.values())


def test_sums_are_used_if_they_move_fewer_bytes() -> None:
    assert is_cheaper(440, 1, 32, 220)
    assert is_cheaper(440, 1, 6, 220)
    assert not is_cheaper(440, 1, 5, 220)
    assert not is_cheaper(440, 28, 32, 220)


def test_sums_are_kept_if_they_make_the_next_change_cheaper() -> None:
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


def test_a_step_that_float64_cannot_hold_does_not_fit() -> None:
    heavy, _ = step_between({}, recipe(a=(1 << 28) - 1, b=1))
    light, _ = step_between({}, recipe(a=(1 << 28) - 2, b=1))

    assert light.fits(F32, F32)
    assert not heavy.fits(F32, F32)
    assert heavy.fits(F16, F16)
    assert light.plain(F16) is False
    assert step_between({}, recipe(a=8000, b=192))[0].plain(F16)
    assert not step_between({}, recipe(a=8000, b=193))[0].plain(F16)
    assert not step_between({}, recipe(a=1))[0].plain(BF16)
