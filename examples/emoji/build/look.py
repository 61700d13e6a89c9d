"""Draw a contact sheet of prompts, so that a person can see what a base knows."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from assemble import BASE, assemble
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

import stockpot.diffusion.patch_codec  # noqa: F401  diffusers looks it up, but does not import it

PROMPTS = (
    "red apple",
    "red heart",
    "grinning face",
    "hamburger",
    "cat face",
    "crescent moon",
    "bicycle",
    "automobile",
    "dog face",
    "pizza",
    "cactus",
    "strawberry",
    "sun",
    "fire",
    "guitar",
    "key",
    "house",
    "rocket",
    "octopus",
    "fish",
    "banana",
    "airplane",
    "tulip",
    "beer mug",
)
COLUMNS = 8
ZOOM = 3
CAPTION_PX = 14


def sheet(pictures: list[Image.Image], captions: list[str]) -> Image.Image:
    """The pictures, enlarged without smoothing, each above its caption."""
    side_px = pictures[0].width * ZOOM
    rows = -(-len(pictures) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * side_px, rows * (side_px + CAPTION_PX)), "white")
    pen = ImageDraw.Draw(canvas)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = index % COLUMNS * side_px, index // COLUMNS * (side_px + CAPTION_PX)
        canvas.paste(picture.resize((side_px, side_px), Image.Resampling.NEAREST), (x, y))
        pen.text((x + 2, y + side_px), caption[:15], fill="black")
    return canvas


def main() -> None:
    """Sample with fixed noise and write one PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="*", default=PROMPTS)
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--out", type=Path, default=Path("out/base.png"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.base == BASE:
        assemble(BASE)
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    prompts = list(arguments.prompts)
    # One generator a picture: a picture does not change when prompts are added.
    randomness = [torch.Generator().manual_seed(arguments.seed + i) for i in range(len(prompts))]
    pictures = pipeline(
        prompts, num_inference_steps=20, guidance_scale=3.0, generator=randomness
    ).images
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(pictures, prompts).save(arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
