"""The compiled mean against the plain one, which other tests hold against the definition."""

import itertools
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from tests.merging.compiled import fresh_kernel
from tests.merging.reference import INFINITE_BITS, SIGN_BIT, bits_of_mean

from stockpot.merging import build as building
from stockpot.merging.blocks import NotFiniteError, bench, mean_of_blocks
from stockpot.merging.formats import BF16, F16, F32, Format, Stored
from stockpot.merging.kernel import Kernel, addresses, load, spans_of
from stockpot.merging.mean import mean
from stockpot.store.weights import FLOATS

PAIRS = list(itertools.product((F16, BF16, F32), repeat=2))
HEAVIEST = [1, 3, 200, 4096, 10**6, 10**9, 10**18]


@pytest.fixture
def kernel() -> Kernel:
    found = fresh_kernel()
    if found is None:
        pytest.skip("no C compiler, or a processor without AVX2 and F16C")
    return found


def adversarial(dice: np.random.Generator, shards: int, elements: int, form: Format) -> Stored:
    """Shape (shards, elements): any finite number, subnormals, cancellation, ties, fine-tunes."""
    kind = FLOATS[form.name].bits
    infinite, sign = INFINITE_BITS[form.name], SIGN_BIT[form.name]
    wild = dice.integers(0, infinite, (shards, elements))
    small = dice.integers(0, infinite >> 5, (shards, elements))
    near = dice.integers(8, infinite - 8, elements) + dice.integers(-4, 5, (shards, elements))
    ties = dice.integers(1, infinite - 1, elements) + dice.integers(0, 2, (shards, elements))
    usual = form.rounded(dice.normal(size=(shards, elements)) * 0.03).view(kind)
    crumbs = dice.choice([0, 0, 1, 2], (shards, elements))
    chosen = dice.integers(0, 6, elements)
    bits = np.choose(chosen, [wild, small, near, ties, usual, crumbs]).astype(np.int64)
    bits &= sign - 1
    half = shards // 2
    cancelling = dice.random(elements) < 0.2
    bits[half : 2 * half, cancelling] = bits[:half, cancelling]
    signs = np.where(dice.random((shards, elements)) < 0.3, sign, 0)
    signs[half : 2 * half, cancelling] = sign - signs[:half, cancelling]
    return (bits | signs).astype(kind).view(form.storage)


@pytest.mark.parametrize(("given", "out"), PAIRS, ids=lambda form: form.name)
@for_all(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_compiled_mean_is_the_plain_one_bit_for_bit(
    data: st.DataObject, given: Format, out: Format
) -> None:
    kernel = fresh_kernel()
    if kernel is None:
        pytest.skip("no C compiler, or a processor without AVX2 and F16C")
    shards = data.draw(st.integers(1, 64))
    heaviest = data.draw(st.sampled_from(HEAVIEST))
    elements = data.draw(st.integers(1, 700))
    seed = data.draw(st.integers(0, 2**32))
    dice = np.random.default_rng(seed)
    weights = [int(dice.integers(1, heaviest, endpoint=True)) for _ in range(shards)]
    blocks = list(adversarial(dice, shards, elements, given))
    got = np.zeros(elements, out.storage)

    largest = mean_of_blocks(weights, given, out, elements, kernel)(bench(blocks, got))

    want = mean(blocks, weights, given, out)
    form = FLOATS[out.name]
    assert got.tobytes() == want.tobytes()
    assert largest == int((want.view(form.bits) & form.magnitude).max())


@pytest.mark.parametrize(("given", "out"), PAIRS, ids=lambda form: form.name)
def test_the_compiled_mean_is_the_definition_over_80_binades(
    kernel: Kernel, given: Format, out: Format
) -> None:
    dice = np.random.default_rng(7)
    for heaviest in (1, 10**6):
        weights = [int(dice.integers(1, heaviest, endpoint=True)) for _ in range(16)]
        blocks = list(adversarial(dice, 16, 320, given))
        got = np.zeros(320, out.storage)

        mean_of_blocks(weights, given, out, 320, kernel)(bench(blocks, got))

        columns = [block.view(FLOATS[given.name].bits).tolist() for block in blocks]
        want = [bits_of_mean(one, weights, given, out) for one in zip(*columns, strict=True)]
        assert got.view(FLOATS[out.name].bits).tolist() == want


@pytest.mark.parametrize(
    ("given", "heaviest"),
    [
        (F16, 1),
        (F16, 100),
        (F16, 10**6),
        (BF16, 1),
        (BF16, 100),
        (BF16, 10**6),
        (F32, 1),
        (F32, 100),
    ],
    ids=str,
)
def test_of_fine_tunes_of_one_base_nearly_all_is_decided_by_the_kernel(
    kernel: Kernel, given: Format, heaviest: int
) -> None:
    dice = np.random.default_rng(3)
    base = dice.normal(size=1 << 16) * 0.03
    blocks = [given.rounded(base + dice.normal(size=1 << 16) * 0.001) for _ in range(8)]
    weights = [int(dice.integers(1, heaviest, endpoint=True)) for _ in range(8)]
    prepared = kernel.prepared(weights, given, given, 1 << 16)
    assert prepared is not None
    out = np.zeros(1 << 16, given.storage)

    doubts, _ = prepared.into(out.ctypes.data, addresses(blocks), 1 << 16)

    assert doubts.size < 66


def test_a_nan_or_an_infinity_is_found_where_it_is(kernel: Kernel) -> None:
    for form in (F16, BF16, F32):
        for bits in (INFINITE_BITS[form.name], INFINITE_BITS[form.name] + 1):
            for used in (kernel, None):
                blocks = [np.zeros(100, FLOATS[form.name].bits) for _ in range(3)]
                blocks[1][77] = bits | SIGN_BIT[form.name]
                stored = [block.view(form.storage) for block in blocks]
                out = np.zeros(100, form.storage)

                with pytest.raises(NotFiniteError) as caught:
                    mean_of_blocks([1, 2, 3], form, form, 100, used)(bench(stored, out))

                assert (caught.value.part, caught.value.element) == (1, 77)


@pytest.mark.torch
def test_subnormal_numbers_count_whatever_the_process_does_to_them(kernel: Kernel) -> None:
    # torch.set_flush_denormal and libraries built with -ffast-math make the processor drop them.
    blocks = [np.full(64, 2 * bits + 1, np.uint16).view(np.float16) for bits in range(5)]
    want = mean(blocks, [1] * 5, F16, F16).tobytes()
    program = f"""
import numpy as np, torch
from tests.merging.compiled import fresh_kernel
from stockpot.merging.blocks import bench, mean_of_blocks
from stockpot.merging.formats import F16
assert torch.set_flush_denormal(True)
blocks = [np.full(64, 2 * bits + 1, np.uint16).view(np.float16) for bits in range(5)]
out = np.zeros(64, np.float16)
mean_of_blocks([1] * 5, F16, F16, 64, fresh_kernel())(bench(blocks, out))
assert out.tobytes() == {want!r}
"""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)


def test_a_library_of_another_source_is_not_used(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    del kernel  # There is a compiler.
    source = tmp_path / "kernel.c"
    source.write_text(Path(building.HERE, "kernel.c").read_text() + "\n/* edited */\n")

    assert building.build(tmp_path / "other.so", source) is None
    assert building.build(tmp_path / "same.so") is None

    assert load(tmp_path / "other.so") is None
    assert load(tmp_path / "same.so") is not None
    assert load(tmp_path / "absent.so") is None
    monkeypatch.setenv("CC", "no-such-compiler")
    assert building.build(tmp_path / "none.so") == "there is no C compiler"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernel.c", "other.so", "same.so"]


def test_what_a_format_cannot_hold_is_not_tried_in_it() -> None:
    assert spans_of(8, F16, F16) is not None
    # float32 divides by 12 bits at most when F16 is wanted.
    light, heavy = spans_of(1 << 11, F16, F16), spans_of(1 << 12, F16, F16)
    assert light is not None
    assert heavy is not None
    assert (light.in_float32, heavy.in_float32) == (2, -1)
    assert spans_of((1 << 28) - 1, F32, F32) is not None
    assert spans_of(1 << 28, F32, F32) is None


def test_the_order_of_weights_and_blocks_does_not_matter(kernel: Kernel) -> None:
    dice = np.random.default_rng(11)
    blocks = list(adversarial(dice, 9, 512, BF16))
    weights = [int(weight) for weight in dice.integers(1, 50, 9)]
    out = np.zeros(512, BF16.storage)
    mean_of_blocks(weights, BF16, BF16, 512, kernel)(bench(blocks, out))
    first = out.tobytes()
    shuffle = random.Random(2)

    for _ in range(10):
        order = shuffle.sample(range(9), 9)
        chosen = [weights[i] for i in order]
        mean_of_blocks(chosen, BF16, BF16, 512, kernel)(bench([blocks[i] for i in order], out))
        assert out.tobytes() == first
