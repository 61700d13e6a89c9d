"""What chance decides: which records, flips, empty captions, timesteps and noise a step has.

Everything that step k draws is a function of (seed, k), from generators that are made for it and
thrown away. So there is no random state to save: a resumed run draws what it would have drawn.
"""

# B batch, L latent channels, H and W latent size.

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stockpot.core.seeds import hash_of_names

_SEEDS = 2**63


@dataclass(frozen=True)
class Draw:
    """What chance decides about one batch. On the CPU, whatever trains."""

    records: Tensor
    """Places of the batch's records, shape (B,)."""
    flipped: Tensor
    """Which are mirrored, shape (B,), bool."""
    captionless: Tensor
    """Which lose their caption, shape (B,), bool."""
    timesteps: Tensor
    """Shape (B,)."""
    noise: Tensor
    """Unit Gaussian, shape (B, L, H, W)."""


def draw_batch(
    seed: int,
    batch: int,
    *,
    records: int,
    batch_size: int,
    latent_shape: Sequence[int],
    timesteps: int,
    flip: bool,
    captionless: float,
) -> Draw:
    """Draw one batch.

    Args:
        seed: Of the shard.
        batch: Number of the batch in the whole training, from 0.
        records: How many there are. They are gone through in a new order each epoch, so that each
            is seen as often as any other, give or take one.
        batch_size: How many of them a batch has; it may reach into the next epoch.
        latent_shape: (L, H, W) of one record.
        timesteps: How many noise levels the schedule has.
        flip: Whether to mirror half of the pictures.
        captionless: The share of captions that are left empty, in [0, 1].
    """
    places = range(batch * batch_size, (batch + 1) * batch_size)
    orders = {
        epoch: torch.randperm(records, generator=_generator(seed, "epoch", epoch))
        for epoch in {place // records for place in places}
    }
    dice = _generator(seed, "batch", batch)
    coins = torch.rand((2, batch_size), generator=dice)
    return Draw(
        records=torch.stack([orders[place // records][place % records] for place in places]),
        flipped=(coins[0] < 0.5) & flip,
        captionless=coins[1] < captionless,
        timesteps=torch.randint(timesteps, (batch_size,), generator=dice),
        noise=torch.randn((batch_size, *latent_shape), generator=dice),
    )


def step_seed(seed: int, what: str, number: int) -> int:
    """Derive a seed in [0, 2**63) for one purpose, unlike that of any other."""
    return hash_of_names(seed, what, number) % _SEEDS


def _generator(seed: int, what: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(step_seed(seed, what, number))
