"""Training objectives: how noise is added, what a denoiser predicts, how noise levels are weighed.

Shared by the training of bases and of shards and by the held-out loss: no model, no optimizer. What
is random is drawn from generators that callers bring.

    Ddpm          levels are timesteps of a schedule; epsilon, v or the sample is predicted
    FlowMatching  levels are shares of noise in (0, 1]; the velocity is predicted
"""

# B batch. Latents and noise have any shape that begins with B.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from stockpot.api.training import FlowMatchingTraining, LevelDistribution, Training
from stockpot.errors import ExitCode, Refused

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class ObjectiveSettings:
    """What a user decides of an objective; the rest follows from the base."""

    snr_gamma: float | None = None
    """The cap of min-SNR weighting; None weighs all levels alike."""
    flow: FlowMatchingTraining | None = None
    """Settings of flow matching; None takes the base's."""
    noise_offset: float = 0.0
    """How much of one random number per channel is added to the noise."""
    resolution: int = 0
    """Side of the pictures in pixels, for a shift by resolution."""

    @staticmethod
    def of(training: Training) -> ObjectiveSettings:
        """Take the settings of a training."""
        gamma = float(training.snr_gamma) if training.snr_gamma is not None else None
        offset = float(training.noise_offset or 0)
        return ObjectiveSettings(gamma, training.flow_matching, offset, training.resolution)


class Objective(Protocol):
    """The question that every training step asks of a denoiser."""

    def draw_levels(self, count: int, dice: torch.Generator) -> Tensor:
        """Draw noise levels on the CPU, shape (B,)."""
        ...

    def levels_at(self, shares: Sequence[float]) -> Tensor:
        """Return the levels at these shares, in [0, 1), of what `draw_levels` draws; shape (B,)."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        """Mix clean latents with unit Gaussian noise."""
        ...

    def target(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        """Return what the denoiser has to predict."""
        ...

    def weight(self, levels_B: Tensor) -> Tensor:  # noqa: N803
        """Compute the weight of each level in the loss, shape (B,), float32, finite."""
        ...


class Ddpm:
    """Denoising diffusion (Ho et al. 2020, arXiv:2006.11239): levels are timesteps.

    The signal-to-noise ratio of timestep t is SNR = a / (1 - a), a being ``alphas_cumprod[t]``.
    Under a zero-terminal-SNR schedule (Lin et al. 2023, arXiv:2305.08891) the last a is 0, and so
    is its SNR.
    """

    def __init__(self, scheduler: Any, snr_gamma: float | None = None) -> None:
        """Take a noise schedule.

        Args:
            scheduler: A diffusers scheduler that adds noise as DDPM does, such as DDPMScheduler.
            snr_gamma: The cap of min-SNR weighting, > 0; None weighs all timesteps alike.

        Raises:
            Refused: ``snr_gamma`` is not positive; or (BAD_BASE) the scheduler's prediction type is
                none of ``PREDICTION_TYPES``.
        """
        self._scheduler, self._snr_gamma = scheduler, snr_gamma
        self._kind = scheduler.config.prediction_type
        if self._kind not in PREDICTION_TYPES:
            raise Refused(
                f"The base's scheduler has the prediction type {self._kind!r}.",
                help="use a base whose prediction_type is one of " + ", ".join(PREDICTION_TYPES),
                exit_code=ExitCode.BAD_BASE,
            )
        if snr_gamma is not None and not snr_gamma > 0:
            raise Refused(
                f"snrGamma is {snr_gamma}, and would give no step any weight.",
                help="use a positive number, such as 5, or leave it out",
            )

    def draw_levels(self, count: int, dice: torch.Generator) -> Tensor:
        return torch.randint(self._timesteps, (count,), generator=dice)

    def levels_at(self, shares: Sequence[float]) -> Tensor:
        last = self._timesteps - 1
        return torch.tensor([min(int(share * self._timesteps), last) for share in shares])

    def add_noise(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        return cast(Tensor, self._scheduler.add_noise(latents, noise, levels_B))

    def target(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        match self._kind:
            case "epsilon":
                return noise
            case "sample":
                return latents
            case _:
                return cast(Tensor, self._scheduler.get_velocity(latents, noise, levels_B))

    def weight(self, levels_B: Tensor) -> Tensor:  # noqa: N803
        """Compute min-SNR weights (Hang et al. 2023, arXiv:2303.09556, section 3.4).

        In terms of the clean latents, the error counts as much as the SNR, but no more than
        gamma. So it is min(SNR, gamma) / SNR for ``epsilon`` and min(SNR, gamma) / (SNR + 1) for
        ``v_prediction``. For ``sample`` it is min(SNR + 1, gamma), SNR + 1 being 1 / (1 - a):
        under zero terminal SNR plain min-SNR would give the last step no weight, and how pure
        noise becomes a first picture would never be learnt.
        """
        gamma = self._snr_gamma
        if gamma is None:
            return torch.ones(levels_B.shape, device=levels_B.device)
        table = self._scheduler.alphas_cumprod.to(levels_B.device, torch.float64)
        alphas: Tensor = table[levels_B]
        snr = alphas / (1 - alphas)
        match self._kind:
            case "epsilon":
                # min(SNR, gamma) / SNR, written so that its limit at SNR = 0 is 1 and not 0 / 0.
                weight = (gamma / snr).clamp(max=1)
            case "v_prediction":
                # min(SNR, gamma) / (SNR + 1), times (1 - a) / (1 - a): finite at a = 1 as well.
                weight = torch.minimum(alphas, gamma * (1 - alphas))
            case _:
                weight = (1 / (1 - alphas)).clamp(max=gamma)
        return weight.float()

    @property
    def _timesteps(self) -> int:
        return int(self._scheduler.config.num_train_timesteps)


class FlowMatching:
    """Rectified flow (Liu et al. 2022, arXiv:2209.03003): a level is the share of noise.

    Noisy latents are (1 - s) x + s n, and n - x is predicted. A shift moves levels towards noise,
    to shift * s / (1 + (shift - 1) * s) (Esser et al. 2024, arXiv:2403.03206, section 5.3.2).
    """

    def __init__(self, shift: float, settings: FlowMatchingTraining) -> None:
        """Take a shift, > 0; 1 leaves levels as they are drawn."""
        self._shift, self._settings = shift, settings

    def draw_levels(self, count: int, dice: torch.Generator) -> Tensor:
        return self._levels(torch.rand(count, generator=dice, dtype=torch.float64))

    def levels_at(self, shares: Sequence[float]) -> Tensor:
        return self._levels(torch.tensor(shares, dtype=torch.float64))

    def add_noise(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        share = levels_B.view(-1, *[1] * (latents.dim() - 1))
        return (1 - share) * latents + share * noise

    def target(self, latents: Tensor, noise: Tensor, levels_B: Tensor) -> Tensor:  # noqa: N803
        return noise - latents

    def weight(self, levels_B: Tensor) -> Tensor:  # noqa: N803
        return torch.ones(levels_B.shape, device=levels_B.device)

    def _levels(self, shares: Tensor) -> Tensor:
        """Map quantiles in [0, 1) to levels in (0, 1], float32: the first are the noisiest."""
        settings = self._settings
        match settings.levels:
            case LevelDistribution.UNIFORM:
                levels = 1 - shares
            case LevelDistribution.LOGIT_NORMAL:
                mean, std = float(settings.logit_mean), float(settings.logit_std)
                normal = torch.special.ndtri((1 - shares).clamp(1e-6, 1 - 1e-6))
                levels = torch.sigmoid(mean + std * normal)
            case _:
                # Esser et al. 2024, equation 20.
                scale = float(settings.mode_scale)
                bend = torch.cos(math.pi / 2 * shares) ** 2 - 1 + shares
                levels = (1 - shares - scale * bend).clamp(min=1e-6)
        return (self._shift * levels / (1 + (self._shift - 1) * levels)).float()


def denoising_losses(
    objective: Objective,
    predict: Callable[[Tensor], Tensor],
    latents: Tensor,
    noise: Tensor,
    levels_B: Tensor,  # noqa: N803
) -> Tensor:
    """Compute the weighted squared error of each record, shape (B,), float32.

    Args:
        objective: What the denoiser has to predict.
        predict: Maps noisy latents to the denoiser's prediction.
        latents: Clean latents.
        noise: Unit Gaussian noise of the same shape.
        levels_B: Noise levels, shape (B,).
    """
    predicted = predict(objective.add_noise(latents, noise, levels_B))
    wanted = objective.target(latents, noise, levels_B)
    error = (predicted.float() - wanted).square()
    losses: Tensor = error.mean(dim=tuple(range(1, error.dim())))
    return losses * objective.weight(levels_B)
