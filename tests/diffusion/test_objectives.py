"""What training asks of a denoiser, and how much each noise level counts."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from stockpot.diffusion.objectives import PREDICTION_TYPES, Ddpm
from stockpot.errors import ExitCode, Refused

# Alpha-bars, and so signal-to-noise ratios 4, 1, 1/4 and 0: the last step is pure noise.
ALPHAS = torch.tensor([0.8, 0.5, 0.2, 0.0])
EVERY_STEP = torch.arange(4)


def a_scheduler(prediction_type: str) -> Any:
    scheduler: Any = DDIMScheduler(num_train_timesteps=4, prediction_type=prediction_type)
    scheduler.alphas_cumprod = ALPHAS
    return scheduler


def example_schedule(prediction_type: str) -> Any:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=True,
    )


@pytest.mark.parametrize(
    ("prediction_type", "expected"),
    [
        ("epsilon", [2 / 4, 1.0, 1.0, 1.0]),  # min(SNR, 2) / SNR, its limit at 0
        ("v_prediction", [2 / 5, 1 / 2, 0.25 / 1.25, 0.0]),  # min(SNR, 2) / (SNR + 1)
        ("sample", [2.0, 2.0, 1.25, 1.0]),  # min(SNR + 1, 2)
    ],
)
def test_the_weights_are_min_snr_as_computed_by_hand(
    prediction_type: str, expected: list[float]
) -> None:
    weight = Ddpm(a_scheduler(prediction_type), 2.0).weight(EVERY_STEP)

    torch.testing.assert_close(weight, torch.tensor(expected))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_without_a_gamma_every_step_counts_one(prediction_type: str) -> None:
    weight = Ddpm(a_scheduler(prediction_type), None).weight(EVERY_STEP)

    assert weight.tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_every_weight_of_a_zero_terminal_snr_schedule_is_finite(prediction_type: str) -> None:
    scheduler = example_schedule(prediction_type)
    assert scheduler.alphas_cumprod[-1] < 1e-7

    weight = Ddpm(scheduler, 5.0).weight(torch.arange(1000))

    assert weight.isfinite().all()
    assert weight.dtype == torch.float32
    assert (weight >= 0).all()
    assert (weight <= 5).all()


def test_the_step_from_pure_noise_is_learnt_when_the_model_predicts_the_sample() -> None:
    weight = Ddpm(example_schedule("sample"), 5.0).weight(torch.tensor([999]))

    torch.testing.assert_close(weight, torch.tensor([1.0]))


def test_min_snr_weighs_the_error_of_the_clean_latents_alike_for_epsilon_and_v() -> None:
    """An error of the clean latents costs min(SNR, gamma), whatever the model predicts."""
    snr = (ALPHAS / (1 - ALPHAS))[:3]
    steps = EVERY_STEP[:3]

    epsilon = Ddpm(a_scheduler("epsilon"), 2.0).weight(steps) * snr
    velocity = Ddpm(a_scheduler("v_prediction"), 2.0).weight(steps) * (snr + 1)

    torch.testing.assert_close(epsilon, snr.clamp(max=2))
    torch.testing.assert_close(velocity, snr.clamp(max=2))


@pytest.mark.parametrize(
    ("prediction_type", "expected"),
    [
        ("epsilon", lambda latents, noise: noise),
        ("sample", lambda latents, noise: latents),
        # sqrt(a) noise - sqrt(1 - a) latents at a = 0.5 and at a = 0.
        (
            "v_prediction",
            lambda latents, noise: torch.stack([(noise[0] - latents[0]) * 0.5**0.5, -latents[1]]),
        ),
    ],
)
def test_the_target_follows_the_prediction_type(prediction_type: str, expected: object) -> None:
    latents, noise = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([1, 3])

    actual = Ddpm(a_scheduler(prediction_type)).target(latents, noise, timesteps)

    assert callable(expected)
    wanted: Tensor = expected(latents, noise)
    torch.testing.assert_close(actual, wanted)


def test_an_unknown_prediction_type_is_refused_by_name() -> None:
    scheduler = a_scheduler("flow")

    with pytest.raises(Refused, match="'flow'") as refused:
        Ddpm(scheduler)

    assert refused.value.exit_code == ExitCode.BAD_BASE


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan")])
def test_a_gamma_that_gives_no_weight_is_refused(gamma: float) -> None:
    with pytest.raises(Refused, match="snrGamma"):
        Ddpm(a_scheduler("sample"), gamma)
