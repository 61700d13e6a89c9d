"""The mean against its definition, over data made to break it.

Invariant 1.
"""

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from tests.merging.reference import INFINITE_BITS, SIGN_BIT, bits_of_mean, is_finite

from stockpot.merging.formats import BF16, F16, F32, FORMATS, Format, Stored
from stockpot.merging.mean import mean

BITS = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32}
PAIRS = list(itertools.product((F16, BF16, F32), repeat=2))


def as_stored(bits: Sequence[int], form: Format) -> Stored:
    return np.array(bits, BITS[form.name]).view(form.storage)


def as_bits(stored: Stored, form: Format) -> list[int]:
    return [int(one) for one in stored.view(BITS[form.name])]


def check(columns: list[list[int]], weights: list[int], given: Format, out: Format) -> None:
    """Average columns (one a shard) and compare each element with the definition."""
    got = as_bits(mean([as_stored(c, given) for c in columns], weights, given, out), out)
    want = [bits_of_mean(element, weights, given, out) for element in zip(*columns, strict=True)]
    assert got == want


def test_every_value_of_a_16_bit_format_survives_alone() -> None:
    for form in (F16, BF16):
        bits = [b for b in range(1 << 16) if is_finite(b, form)]

        alone = mean([as_stored(bits, form)], [7], form, form)

        assert as_bits(alone, form) == bits


def test_rounding_to_bf16_is_right_at_every_midpoint_and_beside_it() -> None:
    magnitudes = BF16.exact(as_stored(list(range(0x7F80)), BF16))
    midpoints = (magnitudes[:-1] + magnitudes[1:]) / 2
    below = np.nextafter(midpoints, 0)
    above = np.nextafter(midpoints, np.inf)
    lower = np.arange(0x7F80 - 1)

    assert (BF16.rounded(below) == lower).all()
    assert (BF16.rounded(above) == lower + 1).all()
    assert (BF16.rounded(midpoints) == lower + lower % 2).all()
    assert (BF16.rounded(-above) == (lower + 1) | 0x8000).all()


@pytest.mark.parametrize(("given", "out"), PAIRS, ids=lambda form: form.name)
@for_all(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_element_is_ever_mis_rounded(data: st.DataObject, given: Format, out: Format) -> None:
    shards = data.draw(st.integers(1, 64))
    heaviest = data.draw(st.sampled_from([1, 3, 200, 4096, 10**6, 10**18]))
    seed = data.draw(st.integers(0, 2**32))
    dice = random.Random(seed)
    weights = [dice.randint(1, heaviest) for _ in range(shards)]
    columns = adversarial(dice, shards, 24, given)

    check(columns, weights, given, out)


def adversarial(dice: random.Random, shards: int, elements: int, form: Format) -> list[list[int]]:
    """Elements of 80 binades, subnormal, cancelling, nearly tied, zero of either sign."""
    infinite, sign = INFINITE_BITS[form.name], SIGN_BIT[form.name]
    rows = []
    for kind in range(elements):
        match kind % 6:
            case 0:  # anything finite
                row = [dice.randrange(infinite) for _ in range(shards)]
            case 1:  # subnormal and smallest normal
                row = [dice.randrange(infinite >> 6) for _ in range(shards)]
            case 2:  # close together, as fine-tunes of one base are
                at = dice.randrange(8, infinite - 8)
                row = [at + dice.randint(-4, 4) for _ in range(shards)]
            case 3:  # a few, and again with the other sign: sums that cancel
                few = [dice.randrange(infinite) for _ in range((shards + 1) // 2)]
                row = [*few, *(bits | sign for bits in few)][:shards]
                dice.shuffle(row)
                rows.append(row)
                continue
            case 4:  # neighbours only: ties
                at = dice.randrange(infinite - 1)
                row = [at + dice.randint(0, 1) for _ in range(shards)]
            case _:  # zeros of either sign, and a crumb
                row = [dice.choice([0, sign, sign, 1]) for _ in range(shards)]
                rows.append(row)
                continue
        rows.append([bits | (sign if dice.random() < 0.3 else 0) for bits in row])
    return [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("form", [F16, BF16, F32], ids=lambda form: form.name)
@pytest.mark.parametrize("heavy", [1, 1000, 1 << 26, 1 << 59])
def test_a_tie_goes_to_even_and_a_crumb_beside_it_decides(form: Format, heavy: int) -> None:
    # One and its upper neighbour, as often each, are a tie; a third, as light as can be beside
    # them, is the lower, the upper, or next to nothing.
    one = {"F16": 0x3C00, "BF16": 0x3F80, "F32": 0x3F800000}[form.name]
    lower, upper = [one, one, one + 1], [one + 1, one + 1, one + 2]

    tie = mean([as_stored(lower, form), as_stored(upper, form)], [heavy, heavy], form, form)
    tipped = mean(
        [as_stored(lower, form), as_stored(upper, form), as_stored([one, one + 1, one + 2], form)],
        [heavy, heavy, 1],
        form,
        form,
    )

    assert as_bits(tie, form) == [one, one, one + 2]
    assert as_bits(tipped, form) == [one, one + 1, one + 2]


@pytest.mark.parametrize("weight", [1, 1 << 40])
def test_what_float64_cannot_see_still_decides_a_tie(weight: int) -> None:
    # Twice a midpoint and a crumb of 2^-100: any float64 of their mean is the midpoint.
    crumb, minus_crumb = 0x0D800000, 0x8D800000
    twice_low, twice_high = 0x40008000, 0x40018000  # 2 (1 + 2^-8) and 2 (1 + 3 * 2^-8)
    middles = as_stored([twice_low] * 3 + [twice_high] * 3, F32)
    crumbs = as_stored([minus_crumb, 0, crumb] * 2, F32)

    got = mean([middles, crumbs], [weight, weight], F32, BF16)

    assert as_bits(got, BF16) == [0x3F80, 0x3F80, 0x3F81, 0x3F81, 0x3F82, 0x3F82]


def test_a_crumb_survives_between_giants_that_cancel() -> None:
    # Each is the largest of its format; in any float64 sum of the first two the crumb is lost.
    check([[0x7BFF], [0x0001], [0xFBFF]], [10**6, 1, 10**6], F16, F32)
    check([[0x7F7FFFFF], [0x00000001], [0xFF7FFFFF]], [1, 1, 1], F32, F32)


def test_a_weight_may_have_more_bits_than_float64_has_left_beside_an_element() -> None:
    # a * 512 c - c * (512 a + 1) = -c, but only where the second product keeps its 58 bits.
    a, c = (1 << 24) - 1, (1 << 24) - 3
    elements = [[int(np.float32(a).view(np.uint32))], [int(np.float32(-c).view(np.uint32))]]

    check(elements, [512 * c, 512 * a + 1], F32, F32)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_order_of_the_parts_does_not_matter(name: str) -> None:
    form = FORMATS[name]
    dice = random.Random(5)
    columns = adversarial(dice, 9, 60, form)
    weights = [dice.randint(1, 10**6) for _ in columns]
    blocks = [as_stored(c, form) for c in columns]

    first = mean(blocks, weights, form, F16).tobytes()

    for _ in range(10):
        order = dice.sample(range(9), 9)
        shuffled = mean([blocks[i] for i in order], [weights[i] for i in order], form, F16)
        assert shuffled.tobytes() == first


def test_a_mean_of_zero_is_minus_zero_only_where_every_input_is() -> None:
    zero, minus_zero, one, minus_one = 0, 0x8000, 0x3C00, 0xBC00
    columns = [[minus_zero, minus_zero, one, zero], [minus_zero, zero, minus_one, zero]]

    for given, out in ((F16, F16), (F16, F32), (F16, BF16)):
        got = mean([as_stored(c, given) for c in columns], [3, 3], given, out)
        assert as_bits(got, out) == [SIGN_BIT[out.name], 0, 0, 0]


def test_what_is_too_large_for_the_output_becomes_infinite() -> None:
    largest = 0x477FE000  # 65504, the largest F16, as F32
    tie = 0x477FF000  # 65520: the midpoint, and the first that is too large
    columns = [[largest, tie, tie - 1]]

    got = mean([as_stored(c, F32) for c in columns], [1], F32, F16)

    assert as_bits(got, F16) == [0x7BFF, 0x7C00, 0x7BFF]
