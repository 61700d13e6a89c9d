"""Which LoRA files are supported, which tensor each module changes, and which are refused."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from stockpot.errors import ExitCode, StockpotError
from stockpot.merging.lora import Module, looks_like_lora, modules_of

Shapes = Mapping[str, tuple[int, ...]]
BASE: Shapes = {
    "down.0.to_q.weight": (6, 5),
    "down.0.to_q.bias": (6,),
    "down.0.to_out.0.weight": (5, 6),
    "conv_in.weight": (4, 3, 3, 3),
    "proj_in.weight": (8, 4, 1, 1),
    "norm.weight": (7,),
}


def a_pair(
    module: str, rows: int = 6, columns: int = 5, rank: int = 2
) -> dict[str, tuple[int, ...]]:
    return {
        f"{module}.lora_A.weight": (rank, columns),
        f"{module}.lora_B.weight": (rows, rank),
    }


def find_modules(shapes: Shapes, config: Mapping[str, Any] | None = None) -> dict[str, Module]:
    return {module.key: module for module in modules_of("x.safetensors", shapes, BASE, config)}


def refusal(shapes: Shapes, config: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(StockpotError) as caught:
        find_modules(shapes, config)
    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert caught.value.message.startswith("x.safetensors is refused: ")
    return caught.value.message.removeprefix("x.safetensors is refused: ")


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("down.0.to_q.lora_A.weight", "down.0.to_q.lora_B.weight"),
        ("unet.down.0.to_q.lora_A.weight", "unet.down.0.to_q.lora_B.weight"),
        ("transformer.down.0.to_q.lora_A.weight", "transformer.down.0.to_q.lora_B.weight"),
        ("unet.down.0.to_q.lora.down.weight", "unet.down.0.to_q.lora.up.weight"),
        ("down.0.to_q.lora_linear_layer.down.weight", "down.0.to_q.lora_linear_layer.up.weight"),
        (
            "base_model.model.down.0.to_q.lora_A.weight",
            "base_model.model.down.0.to_q.lora_B.weight",
        ),
        ("down.0.to_q.lora_A.default.weight", "down.0.to_q.lora_B.default.weight"),
        ("lora_unet_down_0_to_q.lora_down.weight", "lora_unet_down_0_to_q.lora_up.weight"),
        (
            "diffusion_model.down.0.to_q.lora_down.weight",
            "diffusion_model.down.0.to_q.lora_up.weight",
        ),
    ],
)
def test_modules_are_recognized_by_the_names_of_all_scripts(down: str, up: str) -> None:
    module = find_modules({down: (2, 5), up: (6, 2)})["down.0.to_q.weight"]

    assert (module.up, module.down, module.alpha) == (up, down, None)
    assert (module.rows, module.rank, module.columns, module.scale) == (6, 2, 5, 1.0)
    assert looks_like_lora([down])


def test_convolutions_and_1x1_convolutions_are_accepted() -> None:
    modules = find_modules(
        {
            "lora_unet_conv_in.lora_down.weight": (2, 3, 3, 3),
            "lora_unet_conv_in.lora_up.weight": (4, 2, 1, 1),
            "lora_unet_proj_in.lora_down.weight": (3, 4),
            "lora_unet_proj_in.lora_up.weight": (8, 3),
            "lora_unet_down_0_to_out_0.lora_down.weight": (1, 6),
            "lora_unet_down_0_to_out_0.lora_up.weight": (5, 1),
        }
    )

    assert {key: (module.rows, module.rank, module.columns) for key, module in modules.items()} == {
        "conv_in.weight": (4, 2, 27),
        "proj_in.weight": (8, 3, 4),
        "down.0.to_out.0.weight": (5, 1, 6),
    }


def test_a_base_in_a_single_file_checkpoint_is_matched_by_its_own_names() -> None:
    base: Shapes = {f"model.diffusion_model.{key}": shape for key, shape in BASE.items()}

    (module,) = modules_of("x", a_pair("lora_unet_down_0_to_q"), base, None)

    assert module.key == "model.diffusion_model.down.0.to_q.weight"


def test_alpha_comes_from_the_file_then_the_configuration_then_the_rank() -> None:
    own = find_modules(
        {**a_pair("down.0.to_q"), "down.0.to_q.alpha": ()}, {"lora_alpha": 9, "r": 2}
    )
    by_config = find_modules(a_pair("unet.down.0.to_q"), {"unet.lora_alpha": 8, "unet.r": 2})
    other = find_modules(
        a_pair("unet.down.0.to_q"), {"text_encoder.lora_alpha": 8, "text_encoder.r": 2}
    )
    by_name = find_modules(
        a_pair("base_model.model.down.0.to_q"),
        {"lora_alpha": 8, "r": 2, "alpha_pattern": {"to_q": 3}},
    )
    of_root = find_modules(a_pair("down.0.to_q"), {"lora_alpha": 8, "r": 2, "use_rslora": True})

    key = "down.0.to_q.weight"
    assert own[key].alpha == "down.0.to_q.alpha"
    assert own[key].with_alpha(0.5).scale == 0.25
    assert by_config[key].scale == 4.0
    assert other[key].scale == 1.0
    assert by_name[key].scale == 1.5
    assert of_root[key].scale == 8 / math.sqrt(2)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"down.0.to_q.lora_magnitude_vector": (6,)},
            "it is not only a LoRA, it has DoRA: down.0.",
        ),
        ({"down.0.to_q.dora_scale": (6, 1)}, "it has DoRA: down.0.to_q.dora_scale"),
        ({"a.hada_w1_a": (6, 2)}, "it has LoHa: a.hada_w1_a"),
        ({"a.lokr_w1": (6, 2)}, "it has LoKr: a.lokr_w1"),
        ({"conv_in.lora_mid.weight": (2, 2, 3, 3)}, "it has a third factor: conv_in.lora_mid"),
        ({"down.0.to_q.diff": (6, 5)}, "it has a whole difference: down.0.to_q.diff"),
        ({"down.0.to_q.lora_B.bias": (6,)}, "it has a bias: down.0.to_q.lora_B.bias"),
        (
            {"a.processor.to_q_lora.down.weight": (2, 5)},
            "it has the names of diffusers' older attention: a.processor",
        ),
        ({"model.diffusion_model.x": (6,)}, "it is not only a LoRA: model.diffusion_model.x"),
        (a_pair("mid.to_q"), "the base has no weight for mid.to_q"),
        (a_pair("text_encoder.layers.0.q_proj"), "the base has no weight for text_encoder.layers"),
        ({"mid.alpha": ()}, "an alpha without factors: mid"),
        ({"down.0.to_out.0.lora_A.weight": (2, 6)}, "lora_A.weight is alone: the other factor is"),
        (a_pair("unet.down.0.to_q"), "two of its modules change down.0.to_q.weight"),
        (a_pair("down.0.to_out.0"), "is 6x2 times 2x5; down.0.to_out.0.weight is 5x6"),
        (a_pair("norm"), "norm.weight is 7"),
        ({"down.0.to_q.lora_down.weight": (2, 5)}, "belong to the same module"),
        (
            {
                "down.0.to_out.0.lora_A.b.weight": (2, 6),
                "down.0.to_out.0.lora_B.b.weight": (5, 2),
            },
            "it holds several adapters: None, b",
        ),
    ],
)
def test_unsupported_tensors_are_refused_by_name(more: Shapes, why: str) -> None:
    assert why in refusal({**a_pair("down.0.to_q"), **more})


def test_the_first_five_of_many_tensors_are_named() -> None:
    strange = {key: shape for i in range(8) for key, shape in a_pair(f"mid.{i}").items()}

    why = refusal({**a_pair("down.0.to_q"), **strange})

    assert why == "the base has no weight for mid.0, mid.1, mid.2, mid.3, mid.4, and 3 more"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"peft_type": "LOHA", "lora_alpha": 1}, "says LOHA, which is not a LoRA"),
        ({"lora_alpha": 1, "use_dora": True}, "sets use_dora, which cannot be folded"),
        ({"lora_alpha": 1, "fan_in_fan_out": True}, "sets fan_in_fan_out, which cannot be folded"),
        ({"lora_alpha": 1, "bias": "all"}, "says that biases were trained too"),
        ({"lora_alpha": "1"}, "has no alpha that is a number"),
        ({"lora_alpha": math.nan}, "has no alpha that is a number"),
        ({"r": 2}, "has no alpha that is a number"),
        ({"lora_alpha": 1, "alpha_pattern": [1]}, "has no alpha that is a number"),
        ({"lora_alpha": 1, "alpha_pattern": {"a": None}}, "has no alpha that is a number"),
        ({"lora_alpha": 1, "alpha_pattern": {"^a|b$": 2}}, "sets alpha by a pattern: '^a|b$'"),
    ],
)
def test_unsupported_configurations_are_refused(config: Mapping[str, Any], why: str) -> None:
    assert why in refusal(a_pair("down.0.to_q"), config)


def test_a_model_is_not_taken_for_a_lora() -> None:
    assert not looks_like_lora(BASE)
