"""The contract of a family: everything between a picture with its caption and a denoiser.

An object of a family is a base that was loaded, all but its denoiser: text encoders, VAE and
scheduler, which are frozen and the same for every shard and soup. Denoisers come and go beside it.
"""

# B batch, U captions, C image channels, H and W size in pixels, L latent channels.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from stockpot.diffusion.objectives import Objective, ObjectiveSettings

Denoiser: TypeAlias = Any
"""The network that is trained and merged: a UNet or a transformer of diffusers. The library's
classes carry no types that a checker can use."""

Conditions: TypeAlias = Mapping[str, Tensor]
"""What a denoiser is told of captions: each tensor has a row for each caption. The names are those
of the arguments of diffusers' pipelines, such as `prompt_embeds`."""


@dataclass(frozen=True)
class Drawing:
    """What a family's pipeline is asked to draw, but for the prompts and the first noise."""

    steps: int
    """Denoising steps, at least 1."""
    guidance: float
    """How closely to follow the prompt; 1 or less leaves guidance out."""
    height: int
    """In pixels; a multiple of the family's `size_multiple`, as is the width."""
    width: int


class Family(Protocol):
    """A base of one family, loaded but for its denoiser. Safe to use from any thread."""

    device: torch.device
    dtype: torch.dtype
    """The dtype of denoisers and text encoders; the VAE is float32."""
    tokenizer: Any
    """The tokenizer of the text encoder that reads most of a prompt."""
    latent_channels: int
    pixels_per_latent: int
    """Pixels along one side of a latent."""
    size_multiple: int
    """Height and width of pictures, in pixels, are multiples of this."""
    has_zeros_for_empty: bool
    """Whether no caption is zeros, and not the encoding of an empty one."""
    weighs_by_snr: bool
    """Whether its noise levels have a weight by their signal-to-noise ratio."""
    takes_negative_prompt: bool
    """Whether guidance is the difference to a second, unconditional prediction; a base that was
    distilled with guidance takes the scale as an input, and no negative prompt moves it."""

    def load_denoiser(
        self, weights: Sequence[Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Denoiser:
        """Make a denoiser with the weights of these files, copied: they may go afterwards.

        Raises:
            Refused: (BAD_WEIGHTS) A file cannot be read, or they do not fit the base.
        """
        ...

    def encode_captions(self, captions: Sequence[str]) -> Conditions:
        """Encode captions as the family's pipeline does, each on its own row."""
        ...

    def empty_conditions(self) -> Conditions:
        """Encode no caption: of a dropped caption in training, of no negative prompt in sampling.

        Returns:
            One row.
        """
        ...

    def encode_pictures(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Turn pictures in [-1, 1] into latents as the denoiser sees them, shape (B, L, h, w).

        The mode of the codec's distribution, never a sample, so that nothing here is random.
        """
        ...

    def decode(self, latents_BLhw: Tensor) -> Tensor:  # noqa: N803
        """Turn latents into pictures in [0, 1], float32, shape (B, C, H, W)."""
        ...

    def objective(self, settings: ObjectiveSettings) -> Objective:
        """Make the training objective: noise levels, target and weights.

        Raises:
            Refused: A setting has no meaning for this family; or (BAD_BASE) the base's scheduler
                has none.
        """
        ...

    def predict(
        self,
        denoiser: Denoiser,
        noisy: Tensor,
        levels_B: Tensor,  # noqa: N803
        conditions: Conditions,
        sizes_B6: Tensor,  # noqa: N803
        *,
        guidance: float = 3.5,
    ) -> Tensor:
        """Call the denoiser.

        Args:
            denoiser: Of this family, as loaded or as accelerate wraps it.
            noisy: Latents with noise, shape (B, L, h, w).
            levels_B: Noise levels of this family's objective, shape (B,).
            conditions: A row for each of the batch.
            sizes_B6: Original height and width of the pictures, top and left of the crop, and
                height and width that were aimed at; in pixels, shape (B, 6).
            guidance: The scale that a base distilled with guidance is told.

        Returns:
            The objective's target as the denoiser sees it, shape (B, L, h, w).
        """
        ...

    def draw(
        self,
        denoiser: Denoiser,
        drawing: Drawing,
        *,
        positive: Conditions,
        negative: Conditions,
        noise: Tensor,
        generators: Sequence[torch.Generator],
        after_step: Any,
    ) -> Tensor:
        """Run diffusers' own pipeline, and return the latents that it ends with.

        Args:
            denoiser: Of this family, on its device and of its dtype.
            drawing: Steps, guidance and size.
            positive: A row for each picture.
            negative: A row for each picture; used with guidance alone.
            noise: Unit Gaussian, float32, shape (B, L, h, w).
            generators: One for each picture, for schedulers that add noise in every step.
            after_step: diffusers' `callback_on_step_end`.

        Returns:
            Latents, shape (B, L, h, w).
        """
        ...

    def steps_problem(self, steps: int) -> str:
        """Return why the base's scheduler cannot sample in so many steps; empty if it can."""
        ...
