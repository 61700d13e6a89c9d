"""What is trained, how its loss is made, and what is published: one class a method.

A method is looked up by name: `FineTune` here, others in the entry-point group
`stockpot.training`, each a callable that takes the options and returns a Method.
"""

# B batch, L latent channels, H and W latent size, T prompt tokens, D embedding width.

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Parameter

from stockpot.api.options import METHODS
from stockpot.api.training import Named
from stockpot.diffusion.objective import loss_weight, target
from stockpot.diffusion.pipeline import Unet
from stockpot.extensions import declared, make, refuse


@dataclass(frozen=True)
class Batch:
    """What one forward pass sees."""

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
    """How noise is added, and how much each noise level counts."""

    scheduler: Any
    """The base's diffusers scheduler."""
    snr_gamma: float | None
    """None: every timestep weighs the same."""


class Method(Protocol):
    """A way to train. It may change the UNet's modules in `trainable`, and nowhere else."""

    def trainable(self, unet: Unet) -> Mapping[str, Parameter]:
        """Name the parameters that are trained; all others stay as the base has them."""
        ...

    def loss(self, batch: Batch, model: Unet, schedule: Schedule) -> Tensor:
        """The loss of a batch: a scalar, float32. Draws nothing at random."""
        ...

    def publish(self, unet: Unet) -> Mapping[str, Tensor]:
        """What the ingredient holds, float32, under the keys that the base's UNet has."""
        ...


class FineTune:
    """All weights of the UNet, as in diffusers' `train_text_to_image.py`."""

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


BUILT_IN: Mapping[str, Callable[[], Method]] = {"FineTune": FineTune}


def find_method(named: Named) -> Method:
    """Make the method of that name, with its options.

    Raises:
        Refused: (BAD_RUN_SPEC) There is none of that name, it refuses its options, or it breaks on
            being loaded.
    """
    refuse(METHODS.complaints(named, declared(METHODS)))
    if named.name in BUILT_IN:
        return BUILT_IN[named.name]()
    method: Method = make(
        METHODS, named, lambda kind: kind(named.options), needs=("trainable", "loss", "publish")
    )
    return method
