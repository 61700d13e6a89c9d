"""Training methods: which parameters are trained, their loss, and what is published.

A method is a class that follows `Method`: `FineTune` here, others in other packages
(`training/load_method.py` looks them up by name).
"""

# B batch, L latent channels, H and W latent size, T prompt tokens, D embedding width.

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Parameter

from stockpot.diffusion.objective import loss_weight, target
from stockpot.diffusion.pipeline import Unet


@dataclass(frozen=True)
class Batch:
    """The input of one forward pass."""

    latents: Tensor
    """Clean and scaled, shape (B, L, H, W)."""
    noise: Tensor
    """Unit Gaussian, of the same shape."""
    timesteps: Tensor
    """In [0, num_train_timesteps), shape (B,)."""
    conditions: Tensor
    """Text embeddings, shape (B, T, D)."""


@dataclass(frozen=True)
class Schedule:
    """The noise schedule, and the weight of each noise level in the loss."""

    scheduler: Any
    """The base's diffusers scheduler."""
    snr_gamma: float | None
    """Of min-SNR weighting; with None every timestep weighs the same."""


class Method(Protocol):
    """A way to train. It may change the UNet's modules in `trainable`, and nowhere else."""

    def trainable(self, unet: Unet) -> Mapping[str, Parameter]:
        """Return the parameters to train, by name; all others stay as the base has them."""
        ...

    def loss(self, batch: Batch, model: Unet, schedule: Schedule) -> Tensor:
        """Compute the loss of a batch: a scalar, float32. Draws nothing at random."""
        ...

    def publish(self, unet: Unet) -> Mapping[str, Tensor]:
        """Return the ingredient's tensors: all keys and shapes of the base's UNet, float32."""
        ...


class FineTune:
    """Train all weights of the UNet, as diffusers' `train_text_to_image.py` does."""

    def trainable(self, unet: Unet) -> Mapping[str, Parameter]:
        return dict(unet.named_parameters())

    def loss(self, batch: Batch, model: Unet, schedule: Schedule) -> Tensor:
        noisy = schedule.scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
        predicted = model(
            noisy, batch.timesteps, encoder_hidden_states=batch.conditions, return_dict=False
        )[0]
        wanted = target(schedule.scheduler, batch.latents, batch.noise, batch.timesteps)
        error = (predicted.float() - wanted).square().mean(dim=(1, 2, 3))
        loss: Tensor = error * loss_weight(schedule.scheduler, batch.timesteps, schedule.snr_gamma)
        return loss.mean()

    def publish(self, unet: Unet) -> Mapping[str, Tensor]:
        return dict(unet.state_dict())
