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
from tests.tiny import UNET_WEIGHTS, some_weights

from stockpot.diffusion.pipeline import Parts, Unet, encode_captions, load_parts, load_unet
from stockpot.diffusion.sampling import sample
from stockpot.errors import ExitCode, Refused

PROMPTS = ("a red circle", "a blue bar", "")
SEEDS = (1, 2, 2**62)


@pytest.fixture(scope="module")
def parts(base: Path) -> Parts:
    return load_parts(base)


@pytest.fixture(scope="module")
def unet(parts: Parts, base: Path) -> Unet:
    return load_unet(parts.unet_config, base / UNET_WEIGHTS)


@pytest.fixture(scope="module")
def plain(base: Path) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_captions_are_encoded_as_plain_diffusers_does(parts: Parts, plain: Any) -> None:
    theirs, empty = plain.encode_prompt(list(PROMPTS), "cpu", 1, True)

    assert torch.equal(encode_captions(parts, PROMPTS), theirs)
    assert torch.equal(encode_captions(parts, [""]), empty[:1])


def test_pictures_are_drawn_as_plain_diffusers_does(parts: Parts, unet: Unet, plain: Any) -> None:
    theirs = plain(
        list(PROMPTS),
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    ).images

    ours = sample(parts, unet, PROMPTS, SEEDS, steps=3, guidance=3.0)

    assert ours.shape == (3, 16, 16, 3)
    # Attention and memory layout differ, and with them the order of sums.
    assert np.abs(ours - theirs * 255).max() < 1.5


def test_the_same_seed_draws_the_same_picture_again_and_in_any_place(
    parts: Parts, unet: Unet
) -> None:
    first = sample(parts, unet, PROMPTS, SEEDS, steps=4, guidance=3.0)

    turned = sample(parts, unet, PROMPTS[::-1], SEEDS[::-1], steps=4, guidance=3.0)
    alone = sample(parts, unet, PROMPTS[:1], SEEDS[:1], steps=4, guidance=3.0)

    assert np.array_equal(turned[::-1], first)
    assert np.abs(alone[0].astype(int) - first[0]).max() <= 1


def test_sampling_can_be_ended_after_any_step(parts: Parts, unet: Unet) -> None:
    def end_after_two(done: int) -> None:
        if done == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        sample(parts, unet, PROMPTS, SEEDS, steps=4, guidance=1.0, on_step=end_after_two)


def test_a_unet_does_not_need_its_file_any_more(base: Path, parts: Parts, tmp_path: Path) -> None:
    weights = some_weights(base, tmp_path / "weights.safetensors", dtype=torch.float32)
    expected = load_file(weights)["conv_in.weight"].clone()

    loaded = load_unet(parts.unet_config, weights)
    weights.write_bytes(b"\0" * weights.stat().st_size)

    assert torch.equal(loaded.conv_in.weight, expected)


def test_a_file_that_is_cut_short_is_refused(base: Path, parts: Parts, tmp_path: Path) -> None:
    weights = some_weights(base, tmp_path / "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(Refused, match=r"weights\.safetensors cannot be read") as caught:
        load_unet(parts.unet_config, weights)

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS


def test_two_pictures_at_the_same_moment_do_not_meet_in_the_tokenizer(
    base: Path, unet: Unet
) -> None:
    parts = load_parts(base)
    expected = [sample(parts, unet, [prompt], [1], steps=1, guidance=3.0) for prompt in PROMPTS[:2]]
    inside = threading.Lock()
    kind = type(parts.tokenizer)

    class Alone(kind):  # type: ignore[misc, valid-type]
        """Notices a second caller while the first is inside."""

        def __call__(self, *texts: object, **how: object) -> object:
            assert inside.acquire(blocking=False), "two are in the tokenizer at once"
            try:
                time.sleep(0.01)  # Lets the other thread come, if it can.
                return super().__call__(*texts, **how)
            finally:
                inside.release()

    parts.tokenizer.__class__ = Alone
    with ThreadPoolExecutor(2) as threads:
        drawn = list(
            threads.map(
                lambda prompt: sample(parts, unet, [prompt], [1], steps=1, guidance=3.0),
                PROMPTS[:2],
            )
        )

    assert all(
        np.array_equal(picture, wanted) for picture, wanted in zip(drawn, expected, strict=True)
    )
