"""The codec of the example's base: what goes in comes out, and diffusers can use it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tests import tiny
from torch import Tensor

from stockpot.diffusion.patch_codec import PatchCodec
from stockpot.errors import Refused

pytestmark = [
    # torch 2.15 under Python 3.11; nothing of ours is scripted.
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]

EMOJI = Path(__file__).parents[2] / "examples" / "emoji"


def some_images(number: int = 6, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(number, 3, side, side, generator=generator) * 2 - 1


def held_out_pictures() -> Tensor:
    files = sorted((EMOJI / "data" / "heldout").glob("*.png"))
    pixels = np.stack([np.array(Image.open(file)) for file in files])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def a_fitted_codec(latent_channels: int = 12) -> PatchCodec:
    codec = PatchCodec(latent_channels=latent_channels, sample_size=16)
    codec.fit(some_images())
    return codec


@torch.no_grad()
def scaled_latents(codec: PatchCodec, images: Tensor) -> Tensor:
    encoded: Any = codec.encode(images)
    latents: Tensor = encoded.latent_dist.mode() * codec.config["scaling_factor"]
    return latents


@torch.no_grad()
def round_trip(codec: PatchCodec, images: Tensor) -> Tensor:
    encoded: Any = codec.encode(images)
    decoded: Any = codec.decode(encoded.latent_dist.sample())
    pictures: Tensor = decoded.sample
    return pictures


def psnr_db(actual: Tensor, wanted: Tensor) -> float:
    error = ((actual.clamp(-1, 1) - wanted) / 2).square().mean()
    return float(-10 * error.log10())


def test_the_committed_codec_keeps_pictures_that_it_was_not_fitted_on() -> None:
    codec = PatchCodec.from_pretrained(EMOJI / "base" / "vae", local_files_only=True)
    pictures = held_out_pictures()

    assert psnr_db(round_trip(codec, pictures), pictures) > 28


def test_all_components_keep_everything() -> None:
    codec = a_fitted_codec(latent_channels=48)

    torch.testing.assert_close(
        round_trip(codec, some_images()), some_images(), atol=1e-4, rtol=1e-4
    )


def test_more_components_keep_more() -> None:
    kept = [psnr_db(round_trip(a_fitted_codec(n), some_images()), some_images()) for n in (4, 16)]

    assert kept[0] < kept[1]


def test_scaled_latents_of_the_fitted_pictures_have_unit_variance() -> None:
    codec = a_fitted_codec()

    latents = scaled_latents(codec, some_images())

    assert latents.shape == (6, 12, 4, 4)
    assert float(latents.std()) == pytest.approx(1, abs=1e-4)


def test_the_order_of_the_pictures_does_not_turn_channels_over() -> None:
    first, second = a_fitted_codec(), PatchCodec(latent_channels=12, sample_size=16)
    second.fit(some_images().flip(0))

    torch.testing.assert_close(first.encoder, second.encoder, atol=1e-4, rtol=1e-4)


def test_it_answers_with_tuples_when_asked_to() -> None:
    codec = a_fitted_codec()

    (latents,) = codec.encode(some_images(), return_dict=False)
    (decoded,) = codec.decode(latents.mean, return_dict=False)

    assert decoded.shape == (6, 3, 16, 16)


def test_it_is_the_same_after_being_saved_and_loaded(tmp_path: Path) -> None:
    codec = a_fitted_codec()
    codec.save_pretrained(tmp_path)

    loaded = PatchCodec.from_pretrained(tmp_path, local_files_only=True)

    assert loaded.config["scaling_factor"] == codec.config["scaling_factor"]
    assert torch.equal(round_trip(loaded, some_images()), round_trip(codec, some_images()))


def test_a_patch_size_that_pipelines_would_misread_is_refused() -> None:
    with pytest.raises(Refused, match="8 pixel patches"):
        PatchCodec(patch_size=8)


def test_a_pipeline_folder_that_names_it_opens_and_is_saved_alike(tmp_path: Path) -> None:
    base = tiny.a_base(tmp_path / "base")

    pipeline = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.save_pretrained(tmp_path / "saved")

    saved = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert isinstance(pipeline.vae, PatchCodec)
    assert pipeline.vae_scale_factor == 4
    assert saved["vae"] == ["stockpot.diffusion.patch_codec", "PatchCodec"]
