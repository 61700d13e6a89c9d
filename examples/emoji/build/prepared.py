"""What the base learns from, as tensors: latents of pictures both ways round, embedded captions.

Made once a training run, so that a step costs a UNet and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from assemble import BASE, assemble
from concepts import Concept, concepts
from PIL import Image
from render import Drawing, drawings
from safetensors.torch import load_file, save_file
from sources import BASE_VENDORS
from torch import Tensor
from transformers import BertModel, BertTokenizer

from stockpot.diffusion.patch_codec import PatchCodec

LATENT_CHANNELS = 24


class Prepared(NamedTuple):
    """N pictures of K concepts. Captions of concept k: its three variants in rows 3 k + 1 on.

    Attributes:
        latents: Scaled, each picture and its mirror image, shape (N, 2, 24, 8, 8).
        concept: The concept of each picture, shape (N,), in [0, K).
        captions: Hidden states of the text encoder, shape (1 + 3 K, 12, 384); row 0 is the empty
            caption.
    """

    latents: Tensor
    concept: Tensor
    captions: Tensor


def prepare(file: Path, codec_folder: Path) -> None:
    """Render, fit the codec, encode, embed; write ``file`` and the codec."""
    wanted = concepts()
    drawn: list[Drawing] = []
    for vendor in BASE_VENDORS:
        pictures, failed = drawings(vendor, wanted)
        drawn += pictures
        print(f"{vendor}: {len(pictures)} pictures, {failed} failed", flush=True)
    images = torch.stack([pixels(drawing.picture) for drawing in drawn])
    codec = PatchCodec(latent_channels=LATENT_CHANNELS)
    codec.fit(images)
    codec.save_pretrained(codec_folder)
    place = {concept.label: index for index, concept in enumerate(wanted)}
    with torch.no_grad():
        both = torch.stack([latents_of(codec, images), latents_of(codec, images.flip(-1))], 1)
    tensors = Prepared(
        both,
        torch.tensor([place[drawing.concept.label] for drawing in drawn]),
        embedded(_captions(wanted)),
    )
    partial = file.with_suffix(".part")
    save_file({name: x.contiguous() for name, x in tensors._asdict().items()}, partial)
    partial.replace(file)


def load(file: Path) -> Prepared:
    """Read what ``prepare`` wrote."""
    return Prepared(**load_file(file))


def pixels(picture: Image.Image) -> Tensor:
    """A picture as floats in [-1, 1], shape (3, H, W)."""
    values = torch.from_numpy(np.array(picture.convert("RGB")))
    return values.permute(2, 0, 1).float() / 127.5 - 1


def latents_of(codec: PatchCodec, images: Tensor) -> Tensor:
    """Scaled latents, as a UNet sees them."""
    encoded: Any = codec.encode(images)
    latents: Tensor = encoded.latent_dist.mode() * codec.config["scaling_factor"]
    return latents


@torch.no_grad()
def embedded(captions: list[str], base: Path = BASE, batch_size: int = 128) -> Tensor:
    """Hidden states of each caption, as the pipeline of the base computes them."""
    assemble(base)
    tokenizer = BertTokenizer.from_pretrained(base / "tokenizer")
    encoder = BertModel.from_pretrained(base / "text_encoder").eval()
    states = []
    for start in range(0, len(captions), batch_size):
        batch = tokenizer(
            captions[start : start + batch_size],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        states.append(encoder(batch.input_ids, batch.attention_mask).last_hidden_state)
    return torch.cat(states)


def _captions(wanted: list[Concept]) -> list[str]:
    return ["", *(caption for concept in wanted for caption in concept.variants)]
