"""Folding LoRAs into a base follows its definition, and the mean of the results is exact."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.commands import stockpot
from tests.merging.fresh_kernel import fresh_fold
from tests.merging.test_soup import a_file

from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import merge, verify
from stockpot.merging.formats import FORMATS
from stockpot.merging.lora import CONFIG, METADATA
from stockpot.merging.lora_fusion import Factors, Fold, fold_plainly, folded

SHAPES: dict[str, tuple[int, ...]] = {
    "blocks.0.to_q.weight": (6, 5),
    "blocks.0.to_q.bias": (6,),
    "conv_in.weight": (4, 3, 3, 3),
    "norm.weight": (7,),
}


def numbers(seed: int, shape: tuple[int, ...], dtype: str) -> bytes:
    dice = np.random.default_rng(seed)
    return FORMATS[dtype].rounded(dice.normal(size=shape).reshape(-1)).tobytes()


def a_base(folder: Path, dtype: str = "F16") -> Path:
    tensors = {
        key: (dtype, shape, numbers(i, shape, dtype))
        for i, (key, shape) in enumerate(SHAPES.items())
    }
    return a_file(folder / "base.safetensors", tensors)


def a_lora(path: Path, seed: int, rank: int = 2, dtype: str = "F16", **more: Any) -> Path:
    """Write a LoRA with PEFT's names, as diffusers does."""
    shapes: dict[str, tuple[int, ...]] = {
        "unet.blocks.0.to_q.lora_A.weight": (rank, 5),
        "unet.blocks.0.to_q.lora_B.weight": (6, rank),
        "unet.conv_in.lora_A.weight": (rank, 3, 3, 3),
        "unet.conv_in.lora_B.weight": (4, rank, 1, 1),
    }
    tensors = {
        key: (dtype, shape, numbers(seed + i, shape, dtype))
        for i, (key, shape) in enumerate(shapes.items())
    }
    return a_file(path, {**tensors, **more})


def read(path: Path | str) -> dict[str, NDArray[np.float64]]:
    """Read the tensors of a file as float64."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for key, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        form = FORMATS[entry["dtype"]]
        stored = np.frombuffer(data[begin:end], form.storage)
        tensors[key] = form.exact(stored).reshape(entry["shape"])
    return tensors


def in_steps(base: float, up: list[float], down: list[float], scale: float) -> np.float32:
    """Fold one element: each operation in rationals and then rounded to float64."""
    total = Fraction(0)
    for a, b in zip(up, down, strict=True):
        total = Fraction(float(total + Fraction(a) * Fraction(b)))
    added = Fraction(float(total * Fraction(scale)))
    return np.float32(float(Fraction(base) + added))


def any_floats(dice: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Generate numbers of many magnitudes, subnormals and zeros; no product overflows."""
    sizes = np.exp2(dice.integers(-149, 60, size=shape).astype(np.float64))
    signs = dice.choice([-1.0, 0.0, 1.0], size=shape, p=[0.45, 0.1, 0.45])
    return (dice.random(shape) * sizes * signs).astype(np.float32)


def some_factors(
    seed: int, rows: int, columns: int, rank: int, *, alike: bool
) -> tuple[NDArray[np.float32], Factors]:
    dice = np.random.default_rng(seed)
    if alike:
        base, up, down = (
            dice.normal(size=shape).astype(np.float32)
            for shape in ((rows, columns), (rows, rank), (rank, columns))
        )
    else:
        base, up, down = (
            any_floats(dice, shape) for shape in ((rows, columns), (rows, rank), (rank, columns))
        )
    return base, Factors(up.astype(np.float64), down, float(dice.choice([1.0, 0.5, 1 / 3, 7.3])))


@given(
    st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_folding_rounds_each_operation_to_float64_in_order(
    seed: int, rows: int, columns: int, rank: int, alike: bool
) -> None:
    base, factors = some_factors(seed, rows, columns, rank, alike=alike)

    rows_folded = folded(base, factors)

    for i in range(rows):
        for j in range(columns):
            expected = in_steps(
                float(base[i, j]),
                [float(number) for number in factors.up[i]],
                [float(number) for number in factors.down[:, j]],
                factors.scale,
            )
            assert rows_folded[i, j].tobytes() == expected.tobytes()


@given(
    st.integers(0, 2**32),
    st.integers(1, 11),
    st.integers(1, 40),
    st.integers(1, 17),
    st.booleans(),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_compiled_folding_gives_the_same_bytes_for_any_range(
    seed: int, rows: int, columns: int, rank: int, alike: bool, data: st.DataObject
) -> None:
    fold = fresh_fold()
    if fold is None:
        pytest.skip("there is no C compiler")
    base, factors = some_factors(seed, rows, columns, rank, alike=alike)
    first = data.draw(st.integers(0, rows * columns - 1))
    count = data.draw(st.integers(1, rows * columns - first))
    whole = folded(base, factors).reshape(-1)[first : first + count]

    for way in (fold, fold_plainly):
        values = base.reshape(-1)[first : first + count].copy()
        way(values, factors, first)
        assert values.tobytes() == whole.tobytes()


@pytest.mark.parametrize("way", [fold_plainly, None])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_a_lora_alone_is_the_base_with_it_folded_in(
    tmp_path: Path, dtype: str, way: Fold | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = way or fresh_fold() or fold_plainly
    monkeypatch.setattr("stockpot.merging.lora_fusion.installed", lambda: fold)
    base = a_base(tmp_path, dtype)
    lora = a_lora(tmp_path / "lora.safetensors", 9, dtype=dtype)

    made = merge([lora], tmp_path / "out.safetensors", base=base, out_dtype="fp32", verified=True)

    before, added, after = read(base), read(lora), read(made.path)
    for key, module in {"blocks.0.to_q": 5, "conv_in": 27}.items():
        up = added[f"unet.{key}.lora_B.weight"].reshape(-1, 2)
        down = added[f"unet.{key}.lora_A.weight"].reshape(2, module)
        weight = before[f"{key}.weight"].reshape(-1, module).astype(np.float32)
        expected = folded(weight, Factors(up, down.astype(np.float32), 1.0))
        assert np.array_equal(after[f"{key}.weight"].reshape(-1, module), expected)
    for key in ("blocks.0.to_q.bias", "norm.weight"):
        assert np.array_equal(after[key], before[key])


def test_a_mean_of_loras_and_models_is_verified_and_keeps_the_bases_types(tmp_path: Path) -> None:
    base = a_base(tmp_path)
    first, second = (a_lora(tmp_path / f"{i}.safetensors", 10 * i, rank=i) for i in (1, 3))
    inputs = {first: "1", second: "0.3", base: "2"}

    single = merge(inputs, tmp_path / "single.safetensors", base=base, threads=1)
    again = merge(
        dict(reversed(inputs.items())), tmp_path / "again.safetensors", base=base, threads=3
    )
    wide = merge(inputs, tmp_path / "wide.safetensors", base=base, out_dtype="fp32")

    assert single.digest == again.digest
    elements = sum(int(np.prod(shape)) for shape in SHAPES.values())
    for made in (single, wide):
        assert verify(made.path, inputs, base=base, samples=10**6) == elements
    assert {array.shape for array in read(single.path).values()} == set(SHAPES.values())
    with pytest.raises(StockpotError, match="is not the mean of these checkpoints"):
        verify(single.path, {**inputs, second: "0.4"}, base=base, samples=10**6)


def test_the_same_lora_under_other_names_is_folded_alike(tmp_path: Path) -> None:
    """Folds one LoRA in the names of PEFT, diffusers, older diffusers and kohya."""
    base = a_base(tmp_path)
    up, down = numbers(1, (6, 2), "F16"), numbers(2, (2, 5), "F16")
    alpha = ("F32", (), np.float32(1).tobytes())
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1, "alpha_pattern": {}})
    in_diffusers = json.dumps({"unet.r": 2, "unet.lora_alpha": 1})

    def named(path: Path, down_key: str, up_key: str, **more: Any) -> Path:
        path.parent.mkdir(exist_ok=True)
        tensors = {down_key: ("F16", (2, 5), down), up_key: ("F16", (6, 2), up)}
        return a_file(path, {**tensors, **more})

    peft = tmp_path / "peft"
    named(
        peft / "adapter_model.safetensors",
        "base_model.model.blocks.0.to_q.lora_A.weight",
        "base_model.model.blocks.0.to_q.lora_B.weight",
    )
    (peft / CONFIG).write_text(config)
    diffusers = named(
        tmp_path / "diffusers.safetensors",
        "unet.blocks.0.to_q.lora_A.weight",
        "unet.blocks.0.to_q.lora_B.weight",
    )
    with_metadata(diffusers, {METADATA: in_diffusers})
    kohya = named(
        tmp_path / "kohya.safetensors",
        "lora_unet_blocks_0_to_q.lora_down.weight",
        "lora_unet_blocks_0_to_q.lora_up.weight",
        **{"lora_unet_blocks_0_to_q.alpha": alpha},
    )
    older = named(
        tmp_path / "older.safetensors",
        "unet.blocks.0.to_q.lora.down.weight",
        "unet.blocks.0.to_q.lora.up.weight",
        **{"unet.blocks.0.to_q.alpha": alpha},
    )
    unsaid = named(
        tmp_path / "unsaid.safetensors",
        "unet.blocks.0.to_q.lora_A.weight",
        "unet.blocks.0.to_q.lora_B.weight",
    )

    digests = {
        merge([lora], tmp_path / "out.safetensors", base=base).digest
        for lora in (peft, diffusers, kohya, older)
    }

    assert len(digests) == 1
    assert merge([unsaid], tmp_path / "out.safetensors", base=base).digest not in digests


def with_metadata(path: Path, metadata: dict[str, str]) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.dumps({**json.loads(data[8 : 8 + length]), "__metadata__": metadata}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def test_a_lora_without_a_base_is_refused(tmp_path: Path) -> None:
    lora = a_lora(tmp_path / "lora.safetensors", 1)

    with pytest.raises(StockpotError) as caught:
        merge([lora], tmp_path / "out.safetensors")

    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.message == f"{lora} is a LoRA, and no base is named"


def test_a_model_that_does_not_fit_the_base_is_refused_by_name(tmp_path: Path) -> None:
    base = a_base(tmp_path)
    other = a_file(tmp_path / "other.safetensors", {"x": ("F16", (2,), numbers(1, (2,), "F16"))})

    with pytest.raises(StockpotError, match=r"other.* does not fit .*base.*is missing"):
        merge([other], tmp_path / "out.safetensors", base=base)


def test_a_nonfinite_factor_is_reported_with_the_tensor_that_it_changes(tmp_path: Path) -> None:
    base = a_base(tmp_path)
    wild = np.array([[1, np.inf], [0, 0]] * 3, "<f2").tobytes()
    lora = a_lora(
        tmp_path / "lora.safetensors",
        1,
        **{"unet.blocks.0.to_q.lora_B.weight": ("F16", (6, 2), wild)},
    )

    with pytest.raises(StockpotError) as caught:
        merge([lora], tmp_path / "out.safetensors", base=base)

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert "tensor blocks.0.to_q.weight has a NaN or an infinity at [0, 0]" in caught.value.message


def test_the_merge_command_folds_a_lora(tmp_path: Path) -> None:
    base = a_base(tmp_path)
    lora, soup = a_lora(tmp_path / "lora.safetensors", 1), tmp_path / "soup.safetensors"

    merged = stockpot("merge", "--base", base, lora, f"{base}@0.5", "-o", soup, "--verify")

    assert merged.returncode == ExitCode.OK, merged.stderr
    assert verify(soup, {lora: 2, base: 1}, base=base) > 0
