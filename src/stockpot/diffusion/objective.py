"""The training objective: the denoiser's target, and the loss weight of each noise level.

Pure functions of a noise schedule and tensors, shared by the training of bases and of shards: no
model, no optimizer, no randomness.

The signal-to-noise ratio of timestep t is SNR = a / (1 - a), a being ``alphas_cumprod[t]``. Under a
zero-terminal-SNR schedule (Lin et al. 2023, arXiv:2305.08891) the last a is 0, and so is its SNR.
"""

# B batch. Latents and noise have any shape that begins with B.

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from stockpot.errors import ExitCode, Refused

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:  # noqa: N803
    """Return the model's target for latents with this noise at these timesteps.

    Args:
        scheduler: A diffusers scheduler; its ``prediction_type`` decides.
        latents: Clean, scaled latents, shape (B, ...).
        noise: Unit Gaussian noise of the same shape.
        timesteps_B: Integers in [0, num_train_timesteps), shape (B,).

    Raises:
        Refused: The scheduler's prediction type is none of ``PREDICTION_TYPES``.
    """
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return latents
        case "v_prediction":
            return cast(Tensor, scheduler.get_velocity(latents, noise, timesteps_B))
        case other:
            raise _unknown(other)


def loss_weight(scheduler: Any, timesteps_B: Tensor, snr_gamma: float | None) -> Tensor:  # noqa: N803
    """Compute the loss weight of each timestep, shape (B,), float32, finite.

    Min-SNR (Hang et al. 2023, arXiv:2303.09556, section 3.4): in terms of the clean latents, the
    error counts as much as the SNR, but no more than ``snr_gamma``. So it is min(SNR, gamma) / SNR
    for ``epsilon`` and min(SNR, gamma) / (SNR + 1) for ``v_prediction``. For ``sample`` it is
    min(SNR + 1, gamma), SNR + 1 being 1 / (1 - a): under zero terminal SNR plain min-SNR would give
    the last step no weight, and how pure noise becomes a first picture would never be learnt.

    Args:
        scheduler: A diffusers scheduler with ``alphas_cumprod``.
        timesteps_B: Integers in [0, num_train_timesteps), shape (B,).
        snr_gamma: The cap, > 0; None weighs all timesteps alike.

    Raises:
        Refused: ``snr_gamma`` is not positive, or the prediction type is unknown.
    """
    if snr_gamma is None:
        return torch.ones(timesteps_B.shape, device=timesteps_B.device)
    if not snr_gamma > 0:
        raise Refused(
            f"snrGamma is {snr_gamma}, and would give no step any weight.",
            help="use a positive number, such as 5, or leave it out",
        )
    alphas: Tensor = scheduler.alphas_cumprod.to(timesteps_B.device, torch.float64)[timesteps_B]
    snr = alphas / (1 - alphas)
    match scheduler.config.prediction_type:
        case "epsilon":
            # min(SNR, gamma) / SNR, written so that its limit at SNR = 0 is 1 and not 0 / 0.
            weight = (snr_gamma / snr).clamp(max=1)
        case "v_prediction":
            # min(SNR, gamma) / (SNR + 1), times (1 - a) / (1 - a): finite at a = 1 as well.
            weight = torch.minimum(alphas, snr_gamma * (1 - alphas))
        case "sample":
            weight = (1 / (1 - alphas)).clamp(max=snr_gamma)
        case other:
            raise _unknown(other)
    return weight.float()


def _unknown(prediction_type: object) -> Refused:
    return Refused(
        f"The base's scheduler has the prediction type {prediction_type!r}.",
        help=f"use a base whose prediction_type is one of {', '.join(PREDICTION_TYPES)}",
        exit_code=ExitCode.BAD_BASE,
    )
