"""Trainings learn: a tiny base of each family is taught first, then eight flat pictures.

What is measured is the loss on 256 fixed draws of noise and level, before and after. A wrong sign,
a condition that does not arrive or factors that are not trained leave it where it was.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.tiny import RESOLUTION, a_base, some_data
from tests.tiny_families import a_flux_base, an_sdxl_base
from tests.training.runs import Ground, a_training

from stockpot.diffusion.families.registry import open_family
from stockpot.diffusion.objectives import ObjectiveSettings, denoising_losses
from stockpot.diffusion.pictures import crop_sizes, pixels
from stockpot.merging.soup import merge
from stockpot.store.base import denoiser_files

FLAT = {
    **{name: f"a {name}" for name in ("red", "green", "blue", "yellow", "black", "purple")},
    "white": "a big square",
    "orange": "a big bar",
}
"""Pictures of one colour each, with their captions."""
DRAWS_EACH = 32


@dataclass(frozen=True)
class Case:
    """How one family is taught, and how far its loss has to fall."""

    base: Callable[[Path], Path]
    taught_steps: int
    full_steps: int
    full_rate: str
    full_bound: float
    """The most that is left of the loss when all weights are trained."""
    lora_steps: int
    lora_rate: str
    lora_bound: float
    """The most that is left, with a LoRA, of the loss below the middle level."""
    lora_options: tuple[str, str] = ("16", "16")
    """Its rank and alpha."""


CASES: dict[str, Case] = {
    "sd": Case(
        lambda folder: a_base(folder, prediction_type="v_prediction"),
        *(300, 900, "3e-3", 0.2, 900, "1e-2", 0.6),
    ),
    "sdxl": Case(an_sdxl_base, 300, 900, "3e-3", 0.2, 300, "1e-2", 0.6),
    "flux": Case(a_flux_base, 600, 4000, "3e-3", 0.1, 4000, "1e-2", 0.15, ("32", "64")),
}


def steps(number: int, rate: str, decay: str = "0.01", **fields: Any) -> Any:
    return a_training(
        **{
            "max_train_steps": number,
            "checkpointing_steps": number,
            "train_batch_size": 8,
            "optimizer": {"options": {"learningRate": rate, "weightDecay": decay}},
            "snr_gamma": None,
            "ema": None,
            "random_flip": False,
            "proportion_empty_prompts": "0",
            "publish_dtype": "fp32",
            **fields,
        }
    )


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def taught(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that was trained: with random weights alone there is nothing to start from."""
    folder = tmp_path_factory.mktemp("taught")
    ground = Ground(folder, case.base(folder / "base"), some_data(folder / "data", n=200))
    trained = ground.train(training=steps(case.taught_steps, "2e-3", train_batch_size=16))
    save_file(load_file(ground.weights(trained)), denoiser_files(ground.base)[0])
    return ground.base


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flat")
    lines = []
    for colour, caption in FLAT.items():
        Image.new("RGB", (RESOLUTION, RESOLUTION), colour).save(folder / f"{colour}.png")
        lines.append(json.dumps({"file_name": f"{colour}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@torch.no_grad()
def losses(base: Path, weights: Path, flat: Path) -> tuple[float, float]:
    """Measure a denoiser: the mean loss of all draws, and of those below the middle level."""
    family = open_family(base)
    denoiser = family.load_denoiser([weights], device="cpu", dtype=torch.float32)
    objective = family.objective(ObjectiveSettings())
    pictures = [Image.open(flat / f"{colour}.png") for colour in FLAT]
    latents = family.encode_pictures(torch.stack([pixels(each, RESOLUTION) for each in pictures]))
    sizes = torch.stack([crop_sizes(each, RESOLUTION) for each in pictures])
    conditions = family.encode_captions([*FLAT.values()])
    measured, levels = [], []
    for number in range(DRAWS_EACH):
        dice = torch.Generator().manual_seed(number)
        share = (number + float(torch.rand((), generator=dice))) / DRAWS_EACH
        level = objective.levels_at([share] * len(FLAT))
        noise = torch.randn(latents.shape, generator=dice)

        def predict(noisy: torch.Tensor, level: torch.Tensor = level) -> torch.Tensor:
            return family.predict(denoiser, noisy, level, conditions, sizes)

        measured.append(denoising_losses(objective, predict, latents, noise, level))
        levels.append(level.float())
    loss, level = torch.cat(measured), torch.cat(levels)
    return float(loss.mean()), float(loss[level < level.median()].mean())


def test_all_weights_learn_eight_pictures(
    case: Case, taught: Path, flat: Path, tmp_path: Path
) -> None:
    before, _ = losses(taught, denoiser_files(taught)[0], flat)
    ground = Ground(tmp_path, taught, flat)

    trained = ground.train(training=steps(case.full_steps, case.full_rate))

    after, _ = losses(taught, ground.weights(trained), flat)
    assert after < case.full_bound * before


def test_a_lora_learns_eight_pictures(case: Case, taught: Path, flat: Path, tmp_path: Path) -> None:
    _, before = losses(taught, denoiser_files(taught)[0], flat)
    ground = Ground(tmp_path, taught, flat)
    rank, alpha = case.lora_options
    options = {"rank": rank, "loraAlpha": alpha, "targetModules": "all"}
    method = {"name": "LoRA", "options": options}

    trained = ground.train(training=steps(case.lora_steps, case.lora_rate, "0", method=method))

    folded = tmp_path / "folded.safetensors"
    merge([ground.weights(trained)], folded, base=denoiser_files(taught)[0], out_dtype="fp32")
    _, after = losses(taught, folded, flat)
    assert after < case.lora_bound * before
