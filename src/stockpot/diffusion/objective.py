"""What a denoiser is asked for, and how much each noise level counts.

Pure functions of a noise schedule and tensors, shared by the training of bases and of shards: no
model, no optimiser, no randomness.

The signal-to-noise ratio of timestep t is SNR = a / (1 - a), a being ``alphas_cumprod[t]``. Under a
zero-terminal-SNR schedule (Lin et al. 2023, arXiv:2305.08891) the last a is 0, and so is its SNR.
"""

# B batch. Latents and noise have any shape that begins with B.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:  # noqa: N803
    """What the model should answer for latents with this noise at these timesteps.

    Args:
        scheduler: A diffusers scheduler; its ``prediction_type`` decides.
        latents: Clean, scaled latents, shape (B, ...).
        noise: Unit Gaussian noise of the same shape.
        timesteps_B: Integers in [0, num_train_timesteps), shape (B,).

    Raises:
        ValueError: The scheduler's prediction type is none of ``PREDICTION_TYPES``.
    """
    match scheduler.config.prediction_type:
        case "epsilon":
            return noise
        case "sample":
            return latents
        case "v_prediction":
            velocity: Tensor = scheduler.get_velocity(latents, noise, timesteps_B)
            return velocity
        case other:
            raise ValueError(_unknown(other))


def loss_weight(scheduler: Any, timesteps_B: Tensor, snr_gamma: float | None) -> Tensor:  # noqa: N803
    """How much the squared error at each timestep counts, shape (B,), float32, finite.

    Min-SNR (Hang et al. 2023, arXiv:2303.09556, section 3.4) caps the weight that the error has in
    terms of the clean latents at ``snr_gamma``. For ``sample`` the cap is put on SNR + 1 = 1 / (1 - a)
    in place of SNR: under zero terminal SNR plain min-SNR would give the last step no weight, and the
    step that turns pure noise into a first picture would never be learnt.

    Args:
        scheduler: A diffusers scheduler with ``alphas_cumprod``.
        timesteps_B: Integers in [0, num_train_timesteps), shape (B,).
        snr_gamma: The cap, > 0; None weighs all timesteps alike.

    Raises:
        ValueError: ``snr_gamma`` is not positive, or the prediction type is unknown.
    """
    if snr_gamma is None:
        return torch.ones(timesteps_B.shape, device=timesteps_B.device)
    if not snr_gamma > 0:
        raise ValueError(f"snr_gamma must be a positive number, not {snr_gamma}.")
    alphas = scheduler.alphas_cumprod.to(timesteps_B.device, torch.float64)[timesteps_B]
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
            raise ValueError(_unknown(other))
    return weight.float()


def _unknown(prediction_type: object) -> str:
    return f"Prediction type {prediction_type!r} is not one of {', '.join(PREDICTION_TYPES)}."
