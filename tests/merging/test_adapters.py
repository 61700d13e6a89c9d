"""Adapter files are refused with the name of their kind, with a base and without one."""

from pathlib import Path

import numpy as np
import pytest
from tests.merging.test_lora_fusion import a_base, a_lora, numbers
from tests.merging.test_soup import a_file

from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import diff, merge, verify
from stockpot.merging.adapters import adapter_in

MODULE = "lora_unet_blocks_0_to_q"
KEYS: dict[str, tuple[str, ...]] = {
    "LoHa": (
        f"{MODULE}.hada_w1_a",
        f"{MODULE}.hada_w1_b",
        f"{MODULE}.hada_w2_a",
        f"{MODULE}.alpha",
    ),
    "LoHa ": ("base_model.model.to_q.hada_w1_a", "base_model.model.to_q.hada_w1_b"),
    "LoKr": (f"{MODULE}.lokr_w1", f"{MODULE}.lokr_w2_a", f"{MODULE}.lokr_w2_b"),
    "LoKr ": ("transformer_blocks.0.attn.to_q.lokr_w1", "transformer_blocks.0.attn.to_q.lokr_w2"),
    "OFT": (f"{MODULE}.oft_blocks", f"{MODULE}.alpha"),
    "OFT ": ("oft_unet_blocks_0_to_q.oft_diag",),
    "OFT  ": ("base_model.model.to_q.oft_R.weight",),
    "BOFT": ("base_model.model.to_q.boft_R", "base_model.model.to_q.boft_s"),
    "(IA)^3": ("base_model.model.to_q.ia3_l",),
    "(IA)^3 ": (f"{MODULE}.weight", f"{MODULE}.on_input"),
    "GLoRA": (f"{MODULE}.a1.weight", f"{MODULE}.a2.weight", f"{MODULE}.b1.weight"),
    "DyLoRA": (f"{MODULE}.up_list.0", f"{MODULE}.down_list.0"),
    "DoRA": (f"{MODULE}.dora_scale",),
    "DoRA ": ("base_model.model.to_q.lora_magnitude_vector",),
    "VeRA": ("base_model.model.to_q.vera_lambda_b", "base_model.model.to_q.vera_lambda_d"),
    "VB-LoRA": ("base_model.model.to_q.vblora_logits_A",),
    "FourierFT": ("base_model.model.to_q.fourierft_spectrum",),
    "HRA": ("base_model.model.to_q.hra_u",),
    "Bone": ("base_model.model.to_q.bone_block",),
    "prompt tuning": ("prompt_embeddings",),
    "trained tokens": ("base_model.model.embed.trainable_tokens_delta",),
    "ControlNet-LoRA": ("lora_controlnet", "input_blocks.1.0.in_layers.2.down"),
    "whole differences": ("diffusion_model.norm.diff", "diffusion_model.norm.diff_b"),
    "whole differences ": ("norm1.w_norm", "norm1.b_norm"),
    "textual inversion": ("emb_params",),
    "textual inversion ": ("clip_g", "clip_l"),
    "textual inversion  ": ("<cat-toy>",),
    "textual inversion   ": ("string_to_param.*",),
    "the state of an optimizer": ("state.0.exp_avg", "state.0.exp_avg_sq"),
    "an adapter of PEFT": ("base_model.model.blocks.0.to_q.weight",),
    "an adapter of PEFT ": ("blocks.0.to_q.base_layer.weight",),
    "an adapter of kohya's scripts or LyCORIS": (f"{MODULE}.new_kind",),
    "a LoRA with unknown tensor names": (
        "unet.a.processor.to_q_lora.down.weight",
        "unet.a.processor.to_q_lora.up.weight",
    ),
    "a LoRA with unknown tensor names ": (
        "double_blocks.0.processor.qkv_lora1.down.weight",
        "double_blocks.0.processor.qkv_lora1.up.weight",
    ),
    "a LoRA with unknown tensor names  ": ("unet:0:down", "unet:0:up"),
    "a LoRA with unknown tensor names   ": ("to_q.lora_a", "to_q.lora_b"),
    "a LoRA with unknown tensor names    ": ("to_q.lora_A0.weight", "to_q.lora_B0.weight"),
}
"""Keys that tools write, by kind. Trailing spaces distinguish several forms of one kind."""


def an_adapter(path: Path, kind: str, seed: int = 0) -> Path:
    tensors = {key: ("F16", (4,), numbers(seed, (4,), "F16")) for key in KEYS[kind]}
    return a_file(path, tensors)


def refusal(inputs: list[Path], output: Path, base: Path | None = None) -> StockpotError:
    with pytest.raises(StockpotError) as caught:
        merge(inputs, output, base=base)
    assert not output.exists()
    return caught.value


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("with_base", [False, True])
def test_an_unsupported_adapter_is_refused_with_its_kind(
    kind: str, with_base: bool, tmp_path: Path
) -> None:
    files = [an_adapter(tmp_path / f"{i}.safetensors", kind, i) for i in range(2)]

    error = refusal(files, tmp_path / "out", a_base(tmp_path) if with_base else None)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert error.message.startswith(f"{files[0]} is refused: it holds {kind.strip()} (")
    assert error.message.endswith("), which cannot be averaged")
    assert "fold it into its model with the tool that made it" in error.help


@pytest.mark.parametrize("kind", KEYS)
def test_an_adapter_cannot_be_a_base(kind: str, tmp_path: Path) -> None:
    base = an_adapter(tmp_path / "base.safetensors", kind)

    error = refusal([base], tmp_path / "out", base)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert kind.strip() in error.message


def test_a_lora_cannot_be_a_base(tmp_path: Path) -> None:
    lora = a_lora(tmp_path / "lora.safetensors", 1)

    assert refusal([lora], tmp_path / "out", lora).exit_code == ExitCode.USAGE


@pytest.mark.parametrize("kind", ["LoHa", "DoRA", "whole differences", "GLoRA"])
def test_a_lora_with_other_adapter_tensors_is_refused(kind: str, tmp_path: Path) -> None:
    more = {key: ("F16", (4,), numbers(1, (4,), "F16")) for key in KEYS[kind]}
    lora = a_lora(tmp_path / "lora.safetensors", 1, **more)

    error = refusal([lora], tmp_path / "out", a_base(tmp_path))

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert "it is not only a LoRA, it has" in error.message


@pytest.mark.parametrize("with_base", [False, True])
@pytest.mark.parametrize("first", ["LoRA", "model"])
def test_an_adapter_is_refused_among_loras_and_models(
    with_base: bool, first: str, tmp_path: Path
) -> None:
    base = a_base(tmp_path)
    input_file = a_lora(tmp_path / "lora.safetensors", 1) if first == "LoRA" else base
    other = an_adapter(tmp_path / "loha.safetensors", "LoHa")

    error = refusal([input_file, other], tmp_path / "out", base if with_base else None)

    assert error.exit_code in (ExitCode.BAD_WEIGHTS, ExitCode.USAGE)
    assert "is a LoRA" in error.message or "it holds LoHa" in error.message


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("with_base", [False, True])
def test_a_model_with_other_types_is_refused_with_and_without_a_base(
    dtype: str, with_base: bool, tmp_path: Path
) -> None:
    base, folder = a_base(tmp_path, "F16"), tmp_path / "other"
    folder.mkdir()
    other = a_base(folder, dtype)

    error = refusal([base, other], tmp_path / "out", base if with_base else None)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert f"{other} is refused: it does not fit {base}: " in error.message
    assert f"is {dtype} [6], not F16 [6]" in error.message


def test_a_lora_of_another_type_than_its_base_is_folded(tmp_path: Path) -> None:
    base, lora = a_base(tmp_path, "F16"), a_lora(tmp_path / "lora.safetensors", 1, dtype="F32")

    merge([lora], tmp_path / "out", base=base, verified=True)


@pytest.mark.parametrize(("dtype", "kind"), [("I64", "<i8"), ("F64", "<f8"), ("U8", "u1")])
def test_an_alpha_may_be_a_number_of_any_type(dtype: str, kind: str, tmp_path: Path) -> None:
    base = a_base(tmp_path)
    pair = {
        f"{MODULE}.lora_down.weight": ("F16", (2, 5), numbers(1, (2, 5), "F16")),
        f"{MODULE}.lora_up.weight": ("F16", (6, 2), numbers(2, (6, 2), "F16")),
    }
    alphas = {"F32": np.float32(1).tobytes(), dtype: np.array(1, kind).tobytes()}
    made = []
    for name, data in alphas.items():
        lora = a_file(tmp_path / name, {**pair, f"{MODULE}.alpha": (name, (), data)})
        made.append(merge([lora], tmp_path / "out", base=base).digest)

    assert made[0] == made[1]


def test_factors_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    ids = np.zeros((2, 5), "<i4").tobytes()
    down = {"unet.blocks.0.to_q.lora_A.weight": ("I32", (2, 5), ids)}
    lora = a_lora(tmp_path / "lora.safetensors", 1, **down)

    error = refusal([lora], tmp_path / "out", a_base(tmp_path))

    assert "tensor unet.blocks.0.to_q.lora_A.weight is I32; factors are" in error.message


MODELS = (
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "first_stage_model.decoder.up.0.block.0.norm1.weight",
    "cond_stage_model.transformer.text_model.embeddings.position_ids",
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
    "model_ema.decay",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.0.weight",
    "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight",
    "layers.0.mlp.down.weight",
    "blocks.0.attn.w_lora.lora.0.weight",
    "decoder.snake.alpha",
    "flora.weight",
    "loft_s.weight",
    "control_model.zero_convs.0.0.weight",
    "block.q_norm.weight",
    "bn.num_batches_tracked",
)


@pytest.mark.parametrize("key", MODELS)
def test_no_tensor_of_a_model_is_taken_for_an_adapter(key: str) -> None:
    assert adapter_in([key]) is None


def test_a_mean_of_loras_and_a_model_is_the_mean_of_folded_models(tmp_path: Path) -> None:
    base = a_base(tmp_path)
    lora = a_lora(tmp_path / "lora.safetensors", 1)

    made = merge({lora: 1, base: 1}, tmp_path / "out", base=base)

    assert verify(made.path, {lora: 1, base: 1}, base=base) > 0
    assert any(not tensor.is_equal for tensor in diff(base, made.path))
