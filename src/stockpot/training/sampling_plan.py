"""The random choices of each batch: records, flips, empty captions, noise levels and noise.

Batch k is a function of (seed, k), from generators made for it alone. So no random state is saved:
a resumed run samples the same batches.
"""

# B batch, L latent channels, H and W latent size.

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stockpot.core.seeds import hash_of_names

_SEEDS = 2**63


@dataclass(frozen=True)
class SamplingPlan:
    """The random choices of one batch, on the CPU."""

    records: Tensor
    """Indices of the batch's records, shape (B,)."""
    flipped: Tensor
    """True for mirrored pictures, shape (B,), bool."""
    captionless: Tensor
    """True for records with an empty caption, shape (B,), bool."""
    levels: Tensor
    """Noise levels, shape (B,)."""
    noise: Tensor
    """Unit Gaussian, shape (B, L, H, W)."""


def plan_batch(
    seed: int,
    batch: int,
    *,
    records: int,
    batch_size: int,
    latent_shape: Sequence[int],
    draw_levels: Callable[[int, torch.Generator], Tensor],
    flip: bool,
    captionless: float,
    noise_offset: float = 0.0,
) -> SamplingPlan:
    """Sample the random choices of one batch.

    Args:
        seed: The shard's seed.
        batch: Number of the batch in the whole training, from 0.
        records: The number of records. Each epoch goes through all of them in a new order.
        batch_size: Records in a batch; it may reach into the next epoch.
        latent_shape: (L, H, W) of one record.
        draw_levels: Draws so many noise levels.
        flip: Whether to mirror half of the pictures.
        captionless: The share of records with an empty caption, in [0, 1].
        noise_offset: How much of one random number per channel is added to the noise.
    """
    places = range(batch * batch_size, (batch + 1) * batch_size)
    orders = {
        epoch: torch.randperm(records, generator=_generator(seed, "epoch", epoch))
        for epoch in {place // records for place in places}
    }
    dice = _generator(seed, "batch", batch)
    coins = torch.rand((2, batch_size), generator=dice)
    levels = draw_levels(batch_size, dice)
    noise = torch.randn((batch_size, *latent_shape), generator=dice)
    if noise_offset:
        noise += noise_offset * torch.randn((batch_size, latent_shape[0], 1, 1), generator=dice)
    return SamplingPlan(
        records=torch.stack([orders[place // records][place % records] for place in places]),
        flipped=(coins[0] < 0.5) & flip,
        captionless=coins[1] < captionless,
        levels=levels,
        noise=noise,
    )


def step_seed(seed: int, what: str, number: int) -> int:
    """Derive the seed, in [0, 2**63), of one step or batch."""
    return hash_of_names(seed, what, number) % _SEEDS


def _generator(seed: int, what: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(step_seed(seed, what, number))
