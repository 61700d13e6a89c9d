"""The harness of families: a denoiser that answers with the objective's own target.

What training asks of a denoiser and what diffusers' pipeline makes of its answers must agree. A
denoiser that always answers as if one fixed latent were behind the noise has the pipeline end with
that latent, unless a sign, a time scale or a schedule differs between the two.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from stockpot.diffusion.families.port import Drawing, Family
from stockpot.diffusion.objectives import Objective, ObjectiveSettings

PICTURES = 2
SIDE_PIXELS = 16
STEPS = 10


class Recorder(nn.Module):
    """A denoiser that keeps what it is called with, and answers with what it is given."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.dtype, self.device = config, torch.float32, torch.device("cpu")
        self.calls: list[dict[str, Any]] = []
        # Pipelines ask the layers of a UNet how long its conditions of size are.
        self.add_embedding: Any = None

    def cache_context(self, name: str) -> Any:
        return nullcontext()

    def forward(self, *values: Any, **named: Any) -> Any:
        names = ("sample", "timestep")
        call = dict(zip(names, values, strict=False)) | named
        call["sample"] = call.pop("hidden_states", call.get("sample"))
        self.calls.append(call)
        return (self.answer(call["sample"], call["timestep"]),)

    def answer(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return sample


class StandIn(Recorder):
    """Answers as if one fixed latent were behind the noise."""

    def __init__(self, config: Any, family: Family, objective: Objective, latent: Tensor) -> None:
        super().__init__(config)
        self._family, self._objective, self._latent = family, objective, latent
        self._slope, self._offset = time_of(family, config)

    def answer(self, sample: Tensor, timestep: Tensor) -> Tensor:
        family: Any = self._family
        noisy = family.unpack(sample, SIDE_PIXELS, SIDE_PIXELS)
        level = (torch.as_tensor(timestep).float() - self._offset) / self._slope
        levels = level.expand(len(noisy))
        if not self._objective.draw_levels(1, torch.Generator()).is_floating_point():
            levels = levels.round().long().clamp(0, 999)
        latent = self._latent.expand_as(noisy)
        nothing, unit = torch.zeros_like(noisy), torch.ones_like(noisy)
        signal = self._objective.add_noise(latent, nothing, levels)
        noise = (noisy - signal) / self._objective.add_noise(nothing, unit, levels)
        return family.pack(self._objective.target(latent, noise, levels))


def time_of(family: Family, config: Any) -> tuple[float, float]:
    """Return slope and offset of the time that `predict` tells a denoiser, over the level."""
    times = []
    for level in (0, 1):
        recorder = Recorder(config)
        predicted(family, recorder, torch.full((PICTURES,), level))
        times.append(float(torch.as_tensor(recorder.calls[0]["timestep"]).float().flatten()[0]))
    return times[1] - times[0], times[0]


def predicted(family: Family, denoiser: nn.Module, levels: Tensor, **about: Any) -> Tensor:
    """Call `predict` with two captions of a square picture."""
    side = SIDE_PIXELS // family.pixels_per_latent
    noisy = about.get("noisy", torch.zeros(PICTURES, family.latent_channels, side, side))
    conditions = family.encode_captions(about.get("captions", ("a red circle", "a blue bar")))
    square = torch.tensor([[SIDE_PIXELS, SIDE_PIXELS, 0, 0, SIDE_PIXELS, SIDE_PIXELS]] * PICTURES)
    return family.predict(denoiser, noisy, levels, conditions, square, guidance=2.5)


def drawn(family: Family, denoiser: nn.Module, guidance: float = 1.0, steps: int = STEPS) -> Tensor:
    """Run the family's pipeline around a denoiser; return its latents."""
    dice = [torch.Generator().manual_seed(number) for number in range(PICTURES)]
    side = SIDE_PIXELS // family.pixels_per_latent
    shape = (PICTURES, family.latent_channels, side, side)
    empty = family.empty_conditions()
    return family.draw(
        denoiser,
        Drawing(steps, guidance, SIDE_PIXELS, SIDE_PIXELS),
        positive=family.encode_captions(("a red circle", "a blue bar")),
        negative={name: rows.expand(PICTURES, *rows.shape[1:]) for name, rows in empty.items()},
        noise=torch.randn(shape, generator=torch.Generator().manual_seed(7)),
        generators=dice,
        after_step=lambda _, step, time, kept: kept,
    )


def distance_from_latent(family: Family, config: Any, add_embedding: Any = None) -> float:
    """Return how far from the stand-in's latent the pipeline ends, at most."""
    objective = family.objective(ObjectiveSettings())
    side = SIDE_PIXELS // family.pixels_per_latent
    shape = (1, family.latent_channels, side, side)
    latent = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    stand_in = StandIn(config, family, objective, latent)
    stand_in.add_embedding = add_embedding
    return float((drawn(family, stand_in) - latent).abs().max())
