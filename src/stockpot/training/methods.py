"""Training methods: which parameters are trained, their loss, and what is published.

A method is a class that follows `Method`: `FineTune` here, others in other packages
(`training/load_method.py` looks them up by name).
"""

# B batch, L latent channels, H and W latent size.

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor
from torch.nn import Parameter

from stockpot.diffusion.families.port import Conditions, Denoiser
from stockpot.diffusion.objectives import Objective, denoising_losses


@dataclass(frozen=True)
class Batch:
    """The input of one forward pass."""

    latents: Tensor
    """Clean and scaled, shape (B, L, H, W)."""
    noise: Tensor
    """Unit Gaussian, of the same shape."""
    levels: Tensor
    """Noise levels of the objective, shape (B,): timesteps, for one."""
    conditions: Conditions
    """What the denoiser is told of the captions; each tensor has B rows."""
    sizes: Tensor
    """Original height and width of the pictures, top and left of the crop, and height and width
    that were aimed at; in pixels, shape (B, 6)."""


Predict: TypeAlias = Callable[[Tensor, Batch], Tensor]
"""Calls the denoiser with noisy latents, and with the levels, conditions and sizes of a batch."""


class Method(Protocol):
    """A way to train. It may change the denoiser's modules in `trainable`, and nowhere else."""

    publishes_lora: bool
    """Whether it publishes factors of low rank, and not every tensor of the denoiser."""
    freezes_weights: bool
    """Whether the base's weights stay as they are, and so may be held in half precision."""

    def trainable(self, denoiser: Denoiser) -> Mapping[str, Parameter]:
        """Return the parameters to train, by name; all others stay as the base has them."""
        ...

    def loss(self, batch: Batch, predict: Predict, objective: Objective) -> Tensor:
        """Compute the loss of a batch: a scalar, float32. Draws nothing at random."""
        ...

    def publish(self, denoiser: Denoiser) -> Mapping[str, Tensor]:
        """Return the ingredient's tensors: all keys and shapes of the base's denoiser, float32."""
        ...


class FineTune:
    """Train all weights of the denoiser, as diffusers' `train_text_to_image.py` does."""

    publishes_lora = False
    freezes_weights = False

    def trainable(self, denoiser: Denoiser) -> Mapping[str, Parameter]:
        return dict(denoiser.named_parameters())

    def loss(self, batch: Batch, predict: Predict, objective: Objective) -> Tensor:
        losses = denoising_losses(
            objective,
            lambda noisy: predict(noisy, batch),
            batch.latents,
            batch.noise,
            batch.levels,
        )
        return losses.mean()

    def publish(self, denoiser: Denoiser) -> Mapping[str, Tensor]:
        return dict(denoiser.state_dict())
