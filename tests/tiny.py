"""A tiny base and tiny data for tests: random but seeded, complete, made in a moment, offline.

Whatever a test needs of a base or of data is built here once, so that the tests of all verbs speak
of the same things. Nothing here asserts anything, and pytest is not imported.

    base = a_base(tmp_path / "base")            a diffusers folder, 16 x 16 pixels, 4 x 4 latents
    data = some_data(tmp_path / "data", n=12)   an imagefolder: pictures and metadata.jsonl
    weights = some_weights(base, tmp_path / "w.safetensors", seed=1)   a trained UNet, as it were
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from stockpot.diffusion.patch_codec import PatchCodec

RESOLUTION = 16
PROMPT_TOKENS = 6
COLOURS = ("red", "green", "blue", "yellow", "black", "purple")
SHAPES = ("circle", "square", "bar", "corner")

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "big", *COLOURS, *SHAPES)

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["stockpot.diffusion.patch_codec", "PatchCodec"],
}
TOKENIZER = {
    "cls_token": "[CLS]",
    "do_lower_case": True,
    "mask_token": "[MASK]",
    "model_max_length": PROMPT_TOKENS,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}


def a_base(folder: Path, *, seed: int = 0, prediction_type: str = "sample") -> Path:
    """Write a whole StableDiffusionPipeline folder; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with _seeded(seed):
        _unet().save_pretrained(folder / "unet")
        _text_encoder().save_pretrained(folder / "text_encoder")
        _codec(seed).save_pretrained(folder / "vae")
    _scheduler(prediction_type).save_pretrained(folder / "scheduler")
    _write_json(folder / "model_index.json", MODEL_INDEX)
    _write_json(folder / "tokenizer/tokenizer_config.json", TOKENIZER)
    (folder / "tokenizer/vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def some_data(folder: Path, n: int = 12, size: int = RESOLUTION, seed: int = 0) -> Path:
    """Write an imagefolder: n coloured pictures, each with a caption that says what it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (picture, caption) in enumerate(some_pictures(n, size, seed)):
        name = f"{number:04d}.png"
        picture.save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def some_pictures(
    n: int, size: int = RESOLUTION, seed: int = 0
) -> Iterator[tuple[Image.Image, str]]:
    """Draw pictures with captions: coloured shapes on white, no two of them the same."""
    dice = np.random.default_rng(seed)
    for number in range(n):
        colour, shape = str(dice.choice(COLOURS)), str(dice.choice(SHAPES))
        picture = Image.new("RGB", (size, size), "white")
        draw = ImageDraw.Draw(picture)
        low, high = sorted(int(edge) for edge in dice.integers(0, size // 2, 2))
        box = (low, high, size - 1 - high, size - 1 - low)
        match shape:
            case "circle":
                draw.ellipse(box, fill=colour)
            case "square":
                draw.rectangle(box, fill=colour)
            case "bar":
                draw.rectangle((0, high, size, high + size // 4), fill=colour)
            case "corner":
                draw.polygon(((0, 0), (size, 0), (0, high + 2)), fill=colour)
        # Drawn by chance alone two could be equal, and a data set of twins has fewer records.
        picture.putpixel((number % size, size - 1), (seed % 256, number // size, 128))
        yield picture, f"a {colour} {shape}"


def some_weights(
    base: Path,
    path: Path,
    *,
    seed: int = 1,
    scale: float = 0.02,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write what a training might have made of the base's UNet: its weights with seeded noise.

    The file is canonical: one dtype, keys sorted, no metadata.
    """
    generator = torch.Generator().manual_seed(seed)
    unet = load_file(base / UNET_WEIGHTS)
    moved = {
        key: (unet[key] + scale * torch.randn(unet[key].shape, generator=generator)).to(dtype)
        for key in sorted(unet)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(moved, path)
    return path


def _unet() -> Any:
    return UNet2DConditionModel(
        sample_size=4,
        in_channels=12,
        out_channels=12,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=1,  # in diffusers this is the number of heads
        norm_num_groups=8,
    )


def _text_encoder() -> BertModel:
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    config.use_attention_mask = True  # the pipeline passes the mask on only when it reads this
    return BertModel(config)


def _codec(seed: int) -> PatchCodec:
    pictures = [np.asarray(picture) for picture, _ in some_pictures(32, seed=seed)]
    images = torch.from_numpy(np.stack(pictures)).float() / 127.5 - 1  # B, H, W, C in [-1, 1]
    codec = PatchCodec(latent_channels=12, patch_size=4, sample_size=RESOLUTION)
    codec.fit(images.permute(0, 3, 1, 2))
    return codec


def _scheduler(prediction_type: str) -> Any:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make weights from the seed, and leave the caller's dice where they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
