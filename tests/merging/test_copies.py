"""Tensors of types that are not averaged are copied if all are equal, else refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.commands import stockpot
from tests.merging.fresh_kernel import fresh_kernel
from tests.merging.test_lora_fusion import a_base, a_lora, numbers
from tests.merging.test_soup import a_file

from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import diff, merge, verify

IDS = np.arange(77, dtype="<i8")
OTHER: dict[str, bytes] = {
    "I64": np.array([2**62, -1, 7, 0], "<i8").tobytes(),
    "U64": np.array([2**63 + 1, 0, 7, 0], "<u8").tobytes(),
    "I32": np.array([-5, 6, 7, 0], "<i4").tobytes(),
    "U32": np.array([5, 6, 7, 0], "<u4").tobytes(),
    "I16": np.array([-5, 6, 7, 0], "<i2").tobytes(),
    "U16": np.array([5, 6, 7, 0], "<u2").tobytes(),
    "I8": np.array([-5, 6, 7, 0], "i1").tobytes(),
    "U8": np.array([5, 6, 7, 0], "u1").tobytes(),
    "BOOL": bytes([1, 0, 1, 0]),
    "F64": np.array([0.1, np.nan, -np.inf, 0], "<f8").tobytes(),
    "C64": np.array([1 + 2j, 0, 3, 0], "<c8").tobytes(),
    "F8_E4M3": bytes([0x38, 0x7E, 0xB8, 0]),
    "F8_E5M2": bytes([0x3C, 0x7B, 0xBC, 0]),
    "F8_E8M0": bytes([127, 130, 100, 0]),
    "F8_E4M3FNUZ": bytes([0x40, 0x7F, 0x80, 0]),
    "F8_E5M2FNUZ": bytes([0x40, 0x7F, 0x80, 0]),
    "F4": bytes([0x21, 0x07]),
    "F6_E2M3": bytes([0x21, 0x43, 0x05]),
    "F6_E3M2": bytes([0x21, 0x43, 0x05]),
}
"""Four elements of each type that is not averaged."""


def a_model(path: Path, seed: int, dtype: str, data: bytes, shape: tuple[int, ...] = (4,)) -> Path:
    """Write weights of two types and, between them in key order, a tensor of a third type."""
    return a_file(
        path,
        {
            "a.weight": ("F16", (300, 7), numbers(seed, (300, 7), "F16")),
            "b.other": (dtype, shape, data),
            "c.weight": ("F32", (50,), numbers(seed + 1, (50,), "F32")),
        },
    )


def changed(data: bytes) -> bytes:
    """Change the last element, whose upper bits are zero in every example above."""
    return data[:-1] + bytes([data[-1] ^ 0x40])


def stored(path: Path | str, key: str) -> tuple[str, bytes]:
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[key]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    return entry["dtype"], data[begin:end]


@pytest.mark.parametrize("kernel", [fresh_kernel, lambda: None])
@pytest.mark.parametrize("dtype", OTHER)
def test_equal_tensors_of_other_types_are_copied_and_weights_averaged(
    dtype: str, kernel: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockpot.merging.soup.installed", kernel)
    files = [a_model(tmp_path / f"{i}", i, dtype, OTHER[dtype]) for i in range(3)]

    made = merge(files, tmp_path / "out", verified=True, threads=2)
    again = merge(files, tmp_path / "again", threads=1, out_dtype="fp32")

    assert made.copied == ("b.other",)
    assert made.parameters == 300 * 7 + 50
    assert stored(made.path, "b.other") == stored(again.path, "b.other") == (dtype, OTHER[dtype])
    assert verify(made.path, files, samples=10**6) == 300 * 7 + 50
    assert stored(again.path, "a.weight")[0] == "F32"


@pytest.mark.parametrize("dtype", OTHER)
def test_differing_copies_are_refused_by_name_and_counted_by_diff(
    dtype: str, tmp_path: Path
) -> None:
    files = [
        a_model(tmp_path / "1", 1, dtype, OTHER[dtype]),
        a_model(tmp_path / "2", 1, dtype, changed(OTHER[dtype])),
    ]

    with pytest.raises(StockpotError) as caught:
        merge(files, tmp_path / "out")
    differences = {tensor.key: tensor for tensor in diff(*files)}

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert caught.value.message.startswith(
        f"{files[1]} is refused: tensor b.other is {dtype}, which is copied and not averaged, and "
        "at [3] it is "
    )
    assert not (tmp_path / "out").exists()
    assert [key for key, tensor in differences.items() if not tensor.is_equal] == ["b.other"]
    assert (differences["b.other"].differing, differences["b.other"].elements) == (1, 4)
    assert differences["b.other"].largest > 0


def test_the_diff_command_shows_differences_of_integers(tmp_path: Path) -> None:
    ids = [np.array([1, 2, 3, last], "<i8").tobytes() for last in (4, 11)]
    files = [a_model(tmp_path / str(i), 1, "I64", data) for i, data in enumerate(ids)]

    result = stockpot("diff", *files)

    assert result.returncode == ExitCode.WRONG_DIGEST
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("b.other")]
    assert line.split() == ["b.other", "I64", "4", "1", "of", "4", "7", "1.28e+00"]
    assert "1 of 3 tensors differ" in result.stdout


@pytest.mark.parametrize(
    ("dtype", "first", "second", "largest"),
    [
        ("I64", np.array([2**62], "<i8"), np.array([-(2**62)], "<i8"), 2.0**63),
        ("U64", np.array([2**64 - 1], "<u8"), np.array([0], "<u8"), 2.0**64),
        ("I8", np.array([127], "i1"), np.array([-128], "i1"), 255.0),
        ("BOOL", np.array([1], "u1"), np.array([0], "u1"), 1.0),
        ("F64", np.array([0.5], "<f8"), np.array([0.25], "<f8"), 0.25),
        ("C64", np.array([3 + 4j], "<c8"), np.array([0], "<c8"), 5.0),
        ("F8_E4M3", np.array([0x7E], "u1"), np.array([0xFE], "u1"), 896.0),
        ("F8_E5M2", np.array([0x7B], "u1"), np.array([0], "u1"), 57344.0),
        ("F8_E8M0", np.array([130], "u1"), np.array([127], "u1"), 7.0),
        ("F8_E4M3FNUZ", np.array([0x7F], "u1"), np.array([0], "u1"), 240.0),
        ("F8_E5M2FNUZ", np.array([0x7F], "u1"), np.array([0], "u1"), 57344.0),
    ],
)
def test_diff_compares_decoded_numbers(
    dtype: str, first: Any, second: Any, largest: float, tmp_path: Path
) -> None:
    files = [
        a_file(tmp_path / str(i), {"x": (dtype, (1,), data.tobytes())})
        for i, data in enumerate((first, second))
    ]

    (differences,) = diff(*files)

    assert (differences.differing, differences.largest) == (1, largest)


@pytest.mark.parametrize(
    ("dtype", "first", "second", "largest", "differing"),
    [
        ("F4", 0x27, 0x20, 6.0, 1),  # The lower half of a byte is the first element.
        ("F4", 0x9F, 0x1F, 1.0, 1),
        ("F4", 0x21, 0x12, 0.5, 2),
    ],
)
def test_diff_compares_elements_of_narrow_types_not_bytes(
    dtype: str, first: int, second: int, largest: float, differing: int, tmp_path: Path
) -> None:
    files = [
        a_file(tmp_path / str(i), {"x": (dtype, (2,), bytes([data]))})
        for i, data in enumerate((first, second))
    ]

    (differences,) = diff(*files)

    assert (differences.elements, differences.differing, differences.largest) == (
        2,
        differing,
        largest,
    )


def test_zeros_of_different_sign_are_not_equal_copies(tmp_path: Path) -> None:
    files = [
        a_model(tmp_path / str(i), 1, "F64", np.full(4, zero).tobytes())
        for i, zero in enumerate((0.0, -0.0))
    ]

    with pytest.raises(StockpotError, match=r"tensor b\.other is F64"):
        merge(files, tmp_path / "out")


def test_a_copy_of_another_type_or_shape_does_not_fit(tmp_path: Path) -> None:
    ids = np.arange(4, dtype="<i4").tobytes()
    files = [
        a_model(tmp_path / "1", 1, "I32", ids),
        a_model(tmp_path / "2", 1, "U32", ids),
        a_model(tmp_path / "3", 1, "I32", ids, (2, 2)),
    ]

    for other in files[1:]:
        with pytest.raises(StockpotError, match="it does not fit"):
            merge([files[0], other], tmp_path / "out")


def sd1(path: Path, seed: int, **changes: tuple[str, tuple[int, ...], bytes]) -> Path:
    """Write tensors with the names and types of a whole SD 1.x file."""
    unet, vae = "model.diffusion_model", "first_stage_model"
    clip = "cond_stage_model.transformer.text_model"
    weights = {
        f"{unet}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": ("F16", (8, 6)),
        f"{unet}.input_blocks.0.0.bias": ("F16", (8,)),
        f"{unet}.time_embed.0.weight": ("F32", (8, 8)),
        f"{vae}.decoder.up.0.block.0.norm1.weight": ("F32", (4,)),
        f"{vae}.quant_conv.weight": ("F32", (4, 4, 1, 1)),
        f"{clip}.embeddings.token_embedding.weight": ("F16", (20, 6)),
        "alphas_cumprod": ("F32", (10,)),
        "betas": ("F32", (10,)),
        "model_ema.decay": ("F32", ()),
    }
    tensors = {
        key: (dtype, shape, numbers(seed + i, shape, dtype))
        for i, (key, (dtype, shape)) in enumerate(weights.items())
    }
    tensors[f"{clip}.embeddings.position_ids"] = ("I64", (1, 77), IDS.tobytes())
    tensors["model_ema.num_updates"] = ("I32", (), np.int32(840001).tobytes())
    return a_file(path, {**tensors, **changes})


def sdxl(path: Path, seed: int) -> Path:
    """Write tensors with the names and types of a whole SDXL file."""
    first, second = (
        "conditioner.embedders.0.transformer.text_model",
        "conditioner.embedders.1.model",
    )
    weights = {
        "model.diffusion_model.label_emb.0.0.weight": ("F16", (8, 6)),
        f"{first}.embeddings.position_embedding.weight": ("F16", (77, 4)),
        f"{second}.text_projection": ("F16", (6, 6)),
        f"{second}.logit_scale": ("F32", ()),
        "denoiser.sigmas": ("F32", (10,)),
    }
    tensors = {
        key: (dtype, shape, numbers(seed + i, shape, dtype))
        for i, (key, (dtype, shape)) in enumerate(weights.items())
    }
    ids = {f"{first}.embeddings.position_ids": ("I64", (1, 77), IDS.tobytes())}
    return a_file(path, {**tensors, **ids})


@pytest.mark.parametrize("model", [sd1, sdxl])
def test_whole_single_files_are_merged(model: Callable[[Path, int], Path], tmp_path: Path) -> None:
    files = {model(tmp_path / f"{i}.safetensors", 100 * i): str(i + 1) for i in range(3)}
    soup = tmp_path / "soup.safetensors"

    result = stockpot(
        "merge", *(f"{file}@{weight}" for file, weight in files.items()), "-o", soup, "--verify"
    )

    assert result.returncode == ExitCode.OK, result.stderr
    assert "copied, being equal in all" in result.stderr
    assert "position_ids" in result.stderr
    key = next(tensor.key for tensor in diff(soup, soup) if tensor.key.endswith("position_ids"))
    assert stored(soup, key) == ("I64", IDS.tobytes())
    assert verify(soup, files, samples=10**6) > 200


def test_a_batch_counter_that_differs_is_refused_with_both_values(tmp_path: Path) -> None:
    before = sd1(tmp_path / "1", 1)
    later = {"model_ema.num_updates": ("I32", (), np.int32(840002).tobytes())}
    other = sd1(tmp_path / "2", 2, **later)

    with pytest.raises(StockpotError) as caught:
        merge([before, other], tmp_path / "out")

    assert "tensor model_ema.num_updates is I32" in caught.value.message
    assert caught.value.message.endswith(f"at [] it is 840002, in {before} 840001")


@pytest.mark.parametrize("equal", [True, False])
def test_copies_must_be_equal_with_a_base_too(equal: bool, tmp_path: Path) -> None:
    ids = {"embeddings.position_ids": ("I64", (1, 77), IDS.tobytes())}
    other_ids = {"embeddings.position_ids": ("I64", (1, 77), (IDS + 1).tobytes())}
    plain = a_base(tmp_path)
    weights = {
        tensor.key: (*tensor.first, stored(plain, tensor.key)[1])
        for tensor in diff(plain, plain)
        if tensor.first
    }
    base = a_file(tmp_path / "with-ids", {**weights, **ids})
    model = a_file(tmp_path / "model", {**weights, **(ids if equal else other_ids)})
    lora = a_lora(tmp_path / "lora.safetensors", 1)

    if equal:
        made = merge([lora, model], tmp_path / "out", base=base, verified=True)
        assert stored(made.path, "embeddings.position_ids") == ("I64", IDS.tobytes())
        assert stored(made.path, "norm.weight")[0] == "F16"
    else:
        with pytest.raises(StockpotError, match=r"tensor embeddings\.position_ids is I64"):
            merge([lora, model], tmp_path / "out", base=base)
        assert merge([model], tmp_path / "out", base=base).copied == ("embeddings.position_ids",)


def test_verify_detects_an_edited_copy(tmp_path: Path) -> None:
    files = [a_model(tmp_path / str(i), i, "I64", OTHER["I64"]) for i in range(2)]
    merge(files, tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    at = data.index(OTHER["I64"])
    (tmp_path / "out").write_bytes(data[:at] + b"\1" + data[at + 1 :])

    with pytest.raises(StockpotError) as caught:
        verify(tmp_path / "out", files)

    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert "tensor b.other differs from that of" in caught.value.message
