"""Our loading, encoding and sampling against plain diffusers'."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tests.tiny import RESOLUTION, UNET_WEIGHTS, some_weights

from stockpot.diffusion.drawing import draw
from stockpot.diffusion.families.port import Denoiser, Drawing, Family
from stockpot.diffusion.families.registry import open_family
from stockpot.errors import ExitCode, Refused

PROMPTS = ("a red circle", "a blue bar", "")
SEEDS = (1, 2, 2**62)


@pytest.fixture(scope="module")
def family(base: Path) -> Family:
    return open_family(base)


@pytest.fixture(scope="module")
def denoiser(family: Family, base: Path) -> Denoiser:
    return load(family, base / UNET_WEIGHTS)


def load(family: Family, weights: Path) -> Denoiser:
    return family.load_denoiser([weights], device="cpu", dtype=torch.float32)


def a_drawing(steps: int, guidance: float = 3.0) -> Drawing:
    return Drawing(steps, guidance, RESOLUTION, RESOLUTION)


@pytest.fixture(scope="module")
def plain(base: Path) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_captions_are_encoded_as_plain_diffusers_does(family: Family, plain: Any) -> None:
    theirs, empty = plain.encode_prompt(list(PROMPTS), "cpu", 1, True)

    assert torch.equal(family.encode_captions(PROMPTS)["prompt_embeds"], theirs)
    assert torch.equal(family.empty_conditions()["prompt_embeds"], empty[:1])


def test_pictures_are_drawn_as_plain_diffusers_does(
    family: Family, denoiser: Denoiser, plain: Any
) -> None:
    theirs = plain(
        list(PROMPTS),
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    ).images

    ours = draw(family, denoiser, PROMPTS, SEEDS, a_drawing(3))

    assert ours.shape == (3, 16, 16, 3)
    # Attention and memory layout differ, and with them the order of sums.
    assert np.abs(ours - theirs * 255).max() < 1.5


def test_the_same_seed_draws_the_same_picture_again_and_in_any_place(
    family: Family, denoiser: Denoiser
) -> None:
    first = draw(family, denoiser, PROMPTS, SEEDS, a_drawing(4))

    turned = draw(family, denoiser, PROMPTS[::-1], SEEDS[::-1], a_drawing(4))
    alone = draw(family, denoiser, PROMPTS[:1], SEEDS[:1], a_drawing(4))

    assert np.array_equal(turned[::-1], first)
    assert np.abs(alone[0].astype(int) - first[0]).max() <= 1


def test_sampling_can_be_ended_after_any_step(family: Family, denoiser: Denoiser) -> None:
    def end_after_two(done: int) -> None:
        if done == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        draw(family, denoiser, PROMPTS, SEEDS, a_drawing(4, 1.0), on_step=end_after_two)


def test_a_denoiser_does_not_need_its_file_any_more(
    base: Path, family: Family, tmp_path: Path
) -> None:
    weights = some_weights(base, tmp_path / "weights.safetensors", dtype=torch.float32)
    expected = load_file(weights)["conv_in.weight"].clone()

    loaded = load(family, weights)
    weights.write_bytes(b"\0" * weights.stat().st_size)

    assert torch.equal(loaded.conv_in.weight, expected)


def test_a_file_that_is_cut_short_is_refused(base: Path, family: Family, tmp_path: Path) -> None:
    weights = some_weights(base, tmp_path / "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(Refused, match=r"weights\.safetensors cannot be read") as caught:
        load(family, weights)

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS


def test_two_pictures_at_the_same_moment_do_not_meet_in_the_tokenizer(
    base: Path, denoiser: Denoiser
) -> None:
    family = open_family(base)
    expected = [draw(family, denoiser, [prompt], [1], a_drawing(1)) for prompt in PROMPTS[:2]]
    inside = threading.Lock()
    kind = type(family.tokenizer)

    class Alone(kind):  # type: ignore[misc, valid-type]
        """Notices a second caller while the first is inside."""

        def __call__(self, *texts: object, **how: object) -> object:
            assert inside.acquire(blocking=False), "two are in the tokenizer at once"
            try:
                time.sleep(0.01)  # Lets the other thread come, if it can.
                return super().__call__(*texts, **how)
            finally:
                inside.release()

    family.tokenizer.__class__ = Alone
    with ThreadPoolExecutor(2) as threads:
        drawn = list(
            threads.map(
                lambda prompt: draw(family, denoiser, [prompt], [1], a_drawing(1)),
                PROMPTS[:2],
            )
        )

    assert all(
        np.array_equal(picture, wanted) for picture, wanted in zip(drawn, expected, strict=True)
    )
