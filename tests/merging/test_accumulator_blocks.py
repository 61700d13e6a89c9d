"""Kept sums give the bytes of the mean from scratch for any history of recipes."""

import itertools
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from tests.merging.fresh_kernel import fresh_kernel
from tests.merging.reference import INFINITE_BITS, SIGN_BIT
from tests.merging.test_kernel import adversarial

from stockpot.merging.accumulator import fold
from stockpot.merging.accumulator_blocks import (
    NARROW,
    Exact,
    SumsOfBlocks,
    UpdatedBlock,
    WrongSumsError,
)
from stockpot.merging.blocks import NotFiniteError
from stockpot.merging.formats import BF16, F16, F32, Format, Stored
from stockpot.merging.kernel import LANES, Kernel
from stockpot.merging.mean import mean
from stockpot.merging.step import Step
from stockpot.merging.strategy import IngredientKey, step_between
from stockpot.store.weights import FLOATS

PAIRS = list(itertools.product((F16, BF16, F32), repeat=2))
Recipe = Mapping[IngredientKey, int]


def kernels() -> list[Kernel | None]:
    compiled = fresh_kernel()
    return [None] if compiled is None else [None, compiled]


def key_of_shard(number: int) -> IngredientKey:
    return IngredientKey(f"shard-{number:02}", "key", "digest")


def take_step(
    old: UpdatedBlock | None,
    before: Recipe,
    after: Recipe,
    blocks: Mapping[IngredientKey, Stored],
    given: Format,
    output: Format,
    kernel: Kernel | None,
) -> tuple[UpdatedBlock, Stored]:
    """Step from one recipe to the next; return the kept sums and the means."""
    step, read = step_between(before, after)
    assert step.fits(given, output)
    chosen = [blocks[name] for name in read]
    out = np.zeros(chosen[0].size, output.storage)
    sums = SumsOfBlocks(step, given, output, out.size, kernel)
    known = old.exceptions if old is not None else {}
    now = sums.update(old.sums if old is not None else None, known, chosen, out)
    form = FLOATS[output.name]
    assert now.largest == int((out.view(form.bits) & form.magnitude).max())
    return UpdatedBlock(now.sums.copy(), now.exceptions, now.largest), out


def equal(block: UpdatedBlock, other: UpdatedBlock) -> bool:
    return (
        block.sums.dtype == other.sums.dtype
        and block.sums.tobytes() == other.sums.tobytes()
        and block.exceptions == other.exceptions
    )


def changed(
    dice: random.Random, recipe: Recipe, names: Sequence[IngredientKey], heaviest: int
) -> Recipe:
    """Add, remove, reweigh or replace an ingredient; weights keep no common factor."""
    after = dict(recipe)
    absent = [name for name in names if name not in after]
    kind = dice.choice(["add", "add", "remove", "weigh", "replace"])
    if kind in ("remove", "replace") and len(after) > 1:
        del after[dice.choice(sorted(after))]
    if kind in ("add", "replace") and absent:
        after[dice.choice(absent)] = dice.randint(1, heaviest)
    if kind == "weigh":
        after[dice.choice(sorted(after))] = dice.randint(1, heaviest)
    common = np.gcd.reduce(list(after.values()))
    return {name: int(weight // common) for name, weight in after.items()}


@pytest.mark.parametrize(
    ("given", "output", "heaviest"),
    [(*pair, heaviest) for pair, heaviest in zip(PAIRS, itertools.cycle((1, 12, 10**5, 10)))],
    ids=lambda value: value.name if isinstance(value, Format) else str(value),
)
def test_300_changes_give_the_sums_and_the_bytes_of_a_merge_from_scratch(
    given: Format, output: Format, heaviest: int
) -> None:
    dice = random.Random(f"{given.name} {output.name} {heaviest}")
    names = [key_of_shard(i) for i in range(8)]
    rows = adversarial(np.random.default_rng(heaviest), len(names), 44, given)
    blocks = dict(zip(names, rows, strict=True))
    recipe: Recipe = {names[0]: 1}
    kinds_kept = set()
    kept, _ = take_step(None, {}, recipe, blocks, given, output, None)
    for number in range(300):
        after = changed(dice, recipe, names, heaviest)
        if after == recipe:
            continue
        kernel = kernels()[number % len(kernels())]

        kept, out = take_step(kept, recipe, after, blocks, given, output, kernel)

        recipe = after
        ordered = sorted(recipe)
        weights = [recipe[name] for name in ordered]
        want = mean([blocks[name] for name in ordered], weights, given, output)
        assert out.tobytes() == want.tobytes()
        if number % 20 == 0:
            fresh, _ = take_step(None, {}, recipe, blocks, given, output, None)
            assert equal(kept, fresh)
        kinds_kept |= {
            kept.sums.itemsize,
            *(bool(exception.negative_zeros) for exception in kept.exceptions.values()),
        }
    assert True in kinds_kept  # -0 was there


@pytest.mark.parametrize(("given", "output"), PAIRS, ids=lambda form: form.name)
def test_compiled_sums_equal_numpy_sums_bit_for_bit(given: Format, output: Format) -> None:
    kernel = fresh_kernel()
    if kernel is None:
        pytest.skip("no C compiler, or a processor without AVX2, F16C and FMA")
    dice = random.Random(given.name + output.name)
    names = [key_of_shard(i) for i in range(40)]
    for heaviest, count in itertools.product((1, 3, 300, 10**6), (1, 7, 40)):
        rows = adversarial(np.random.default_rng(count), count, dice.randint(1, 500), given)
        blocks = dict(zip(names, rows, strict=False))
        some = {block: dice.randint(1, heaviest) for block in blocks}
        fewer = {name: weight for name, weight in some.items() if dice.random() < 0.9} or some
        both = []
        for used in (kernel, None):
            first, first_out = take_step(None, {}, some, blocks, given, output, used)
            if fewer == some:
                both.append((first, first_out, first, first_out))
            else:
                second, out = take_step(first, some, fewer, blocks, given, output, used)
                both.append((first, first_out, second, out))
        compiled, plain = both
        assert equal(compiled[0], plain[0])
        assert equal(compiled[2], plain[2])
        assert compiled[1].tobytes() == plain[1].tobytes()
        assert compiled[3].tobytes() == plain[3].tobytes()


def test_nearly_all_sums_of_fine_tuned_models_are_kept_as_numbers() -> None:
    dice = np.random.default_rng(3)
    base = dice.normal(size=1 << 15) * 0.03
    for given, heaviest in [
        *itertools.product((F16, BF16), (1, 100, 10**6)),
        *itertools.product((F32,), (1, 100, 1000)),
    ]:
        rows = [given.rounded(base + dice.normal(size=1 << 15) * 0.001) for _ in range(32)]
        blocks = {key_of_shard(i): row for i, row in enumerate(rows)}
        recipe = {block: int(dice.integers(1, heaviest, endpoint=True)) for block in blocks}

        kept, _ = take_step(None, {}, recipe, blocks, given, given, fresh_kernel())

        assert len(kept.exceptions) < 3
        assert (kept.sums.dtype == NARROW) == (given is F16 and heaviest == 1)


@pytest.mark.parametrize("kernel", kernels(), ids=["plain", "compiled"][: len(kernels())])
def test_a_sum_of_zero_is_negative_only_if_all_zeros_are(kernel: Kernel | None) -> None:
    for form in (F16, BF16, F32):
        bits = FLOATS[form.name].bits
        minus = np.full(9, SIGN_BIT[form.name], bits).view(form.storage)
        plus = np.zeros(9, bits).view(form.storage)
        blocks = {key_of_shard(0): minus, key_of_shard(1): minus, key_of_shard(2): plus}
        recipes: list[Recipe] = [
            {key_of_shard(0): 1},
            {key_of_shard(0): 1, key_of_shard(1): 1},
            {key_of_shard(0): 1, key_of_shard(1): 1, key_of_shard(2): 1},
            {key_of_shard(0): 1, key_of_shard(2): 1},
            {key_of_shard(0): 3, key_of_shard(2): 1},
            {key_of_shard(0): 1},
        ]
        before: Recipe = {}
        kept: UpdatedBlock | None = None
        for recipe, is_negative in zip(recipes, (1, 1, 0, 0, 0, 1), strict=True):
            kept, out = take_step(kept, before, recipe, blocks, form, form, kernel)
            before = recipe
            assert out.tobytes() == (minus if is_negative else plus).tobytes()


@pytest.mark.parametrize("kernel", kernels(), ids=["plain", "compiled"][: len(kernels())])
def test_a_nan_is_reported_with_its_index_and_never_kept(kernel: Kernel | None) -> None:
    for form in (F16, BF16, F32):
        bits = FLOATS[form.name].bits
        for wild in (INFINITE_BITS[form.name], INFINITE_BITS[form.name] + 1):
            block = np.ones(40, bits)
            block[33] = wild | SIGN_BIT[form.name]
            blocks = {key_of_shard(0): np.ones(40, bits).view(form.storage)}
            kept, _ = take_step(None, {}, {key_of_shard(0): 1}, blocks, form, form, kernel)
            blocks[key_of_shard(1)] = block.view(form.storage)

            with pytest.raises(NotFiniteError) as caught:
                take_step(
                    kept,
                    {key_of_shard(0): 1},
                    {key_of_shard(0): 1, key_of_shard(1): 1},
                    blocks,
                    form,
                    form,
                    kernel,
                )

            assert (caught.value.part, caught.value.element) == (0, 33)


def test_sums_that_contradict_their_recipe_are_refused() -> None:
    step = Step(1, 3, (3,), (1,), 5, 8, 2)
    sums = SumsOfBlocks(step, F32, F32, 1, None)
    block, out = np.ones(1, np.float32), np.zeros(1, np.float32)

    with pytest.raises(WrongSumsError):  # (1 + 3) / 3 is no sum of ingredients
        sums.update(np.full(1, np.nan), {0: Exact(0, 1)}, [block], out)
    with pytest.raises(WrongSumsError):  # an exception that is not recorded
        sums.update(np.full(1, np.nan), {}, [block], out)


def test_every_changed_word_changes_the_fold() -> None:
    dice = random.Random(5)
    sums = np.random.default_rng(5).integers(-(1 << 31), 1 << 31, 5000, dtype=np.int64)
    narrow = sums.astype(NARROW)
    want = fold(narrow, None)
    assert want.shape == (LANES,)
    for kernel in kernels():
        assert (fold(narrow, kernel) == want).all()
    for _ in range(50):
        other = narrow.copy()
        other[dice.randrange(other.size)] ^= 1 << dice.randrange(31)
        assert (fold(other, None) != want).any()
        assert (fold(narrow[:-1], None) != want).any()
