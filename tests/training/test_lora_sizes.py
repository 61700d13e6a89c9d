"""How large a LoRA of the released models is, by the layers that each option chooses."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.diffusion.full_size import flux_dev, sd_1_5, sdxl

from stockpot.api.options import LoraOptions
from stockpot.training.lora import Lora


@pytest.mark.parametrize(
    ("make", "parameters"),
    [(sd_1_5, 859_520_964), (sdxl, 2_567_463_684), (flux_dev, 11_901_408_320)],
)
def test_the_denoisers_have_as_many_parameters_as_the_released_ones(
    make: Callable[[], Any], parameters: int
) -> None:
    assert sum(tensor.numel() for tensor in make().parameters()) == parameters


@pytest.mark.parametrize(
    ("make", "targets", "layers", "megabytes"),
    [
        (sd_1_5, "attention", 128, 12.8),
        (sdxl, "attention", 560, 92.9),
        (flux_dev, "attention", 266, 104.6),
    ],
)
def test_a_lora_of_rank_16_has_the_size_that_is_known_of_it(
    make: Callable[[], Any], targets: str, layers: int, megabytes: float
) -> None:
    options = LoraOptions.model_validate({"targetModules": targets}, by_alias=True)

    trained = Lora(options, 0, "unet").trainable(make())

    size_bytes = 4 * sum(factor.numel() for factor in trained.values())
    assert len(trained) == 2 * layers
    assert size_bytes / 1e6 == pytest.approx(megabytes, abs=0.1)
