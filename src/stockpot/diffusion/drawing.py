"""Draw pictures with a family and a denoiser.

A picture is a function of the weights, the prompt, the seed, the steps and the
guidance, up to one level in 255: a batch of another size lets the CPU's kernels add in another
order. Within a batch, neighbours and places do not matter. To get the same bytes again, sample
one at a time. Nothing here keeps state between two calls, so calls may run side by side.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stockpot.diffusion.families.port import Conditions, Denoiser, Drawing, Family


def draw(
    family: Family,
    denoiser: Denoiser,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawing: Drawing,
    *,
    negatives: Sequence[str] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> NDArray[np.uint8]:
    """Draw one picture for each prompt and seed.

    Args:
        family: The base's other parts.
        denoiser: On the family's device and of its dtype.
        prompts: At least one; what is longer than the text encoder reads is cut, so callers ask
            `stockpot.diffusion.prompts` first.
        seeds: One for each prompt, in [0, 2**63): the first noise, drawn on the CPU, so that it is
            the same on any device and whatever else is in the batch.
        drawing: Steps, guidance and size.
        negatives: A negative prompt for each picture, or None; used with guidance alone.
        on_step: Called after each step with the number of steps done. What it raises ends the
            sampling and comes out of this function.

    Returns:
        Pictures, shape (B, H, W, 3), in [0, 255].
    """

    def after_step(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(step + 1)
        return kept

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    side = family.pixels_per_latent
    shape = (1, family.latent_channels, drawing.height // side, drawing.width // side)
    latents = family.draw(
        denoiser,
        drawing,
        positive=family.encode_captions(prompts),
        negative=_negative(family, negatives or [""] * len(prompts)),
        noise=torch.cat([torch.randn(shape, generator=dice) for dice in generators]),
        generators=generators,
        after_step=after_step,
    )
    pictures = family.decode(latents).permute(0, 2, 3, 1).cpu().numpy()
    return np.asarray((pictures * 255).round(), dtype=np.uint8)


def _negative(family: Family, negatives: Sequence[str]) -> Conditions:
    """Encode negative prompts; an empty one is what a dropped caption is in training."""
    empty, encoded = family.empty_conditions(), family.encode_captions(negatives)
    are_empty = torch.tensor([not text for text in negatives], device=family.device)

    def rows(name: str) -> Tensor:
        shape = (-1, *[1] * (encoded[name].dim() - 1))
        return torch.where(are_empty.view(shape), empty[name], encoded[name])

    return {name: rows(name) for name in encoded}
