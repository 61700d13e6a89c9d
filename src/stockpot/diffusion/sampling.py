"""Draw pictures: diffusers' own StableDiffusionPipeline around a UNet of ours.

A picture is a function of the weights, the prompt, the seed, the steps and the
guidance, up to one level in 255: a batch of another size lets the CPU's kernels add in another
order. Within a batch, neighbours and places do not matter. To get the same bytes again, sample
one at a time. Nothing here keeps state between two calls, so calls may run side by side.
"""

import copy
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stockpot.diffusion.pipeline import Parts, Unet

_ENCODING = threading.Lock()
"""A tokenizer keeps how it pads from one call to the next, and diffusers pads in two ways: of two
pictures that begin at the same moment, one would be drawn from other words, or not at all."""


def sample(
    parts: Parts,
    unet: Unet,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    negatives: Sequence[str] | None = None,
    resolution: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> NDArray[np.uint8]:
    """Draw one picture for each prompt and seed.

    Args:
        parts: Everything of the pipeline but the UNet.
        unet: On the same device and of the same dtype as `parts`.
        prompts: At least one; what is longer than the text encoder reads is cut, so callers ask
            `stockpot.diffusion.prompts` first.
        seeds: One for each prompt, in [0, 2**63): the first noise, drawn on the CPU, so that it is
            the same on any device and whatever else is in the batch.
        steps: Denoising steps, at least 1.
        guidance: Classifier-free guidance scale; 1 or less leaves it out and costs half.
        negatives: A negative prompt for each picture, or None; used with guidance alone.
        resolution: Height and width in pixels; None takes the UNet's configuration.
        on_step: Called after each step with the number of steps done. What it raises ends the
            sampling and comes out of this function.

    Returns:
        Pictures, shape (B, H, W, 3), in [0, 255].
    """
    # Here, for the reason that `stockpot.diffusion.pipeline` gives.
    from diffusers import StableDiffusionPipeline  # noqa: PLC0415

    pipeline: Any = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=unet,
        # A scheduler keeps its place between steps: two calls must not share one.
        scheduler=copy.deepcopy(parts.scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def after_step(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step(step + 1)
        return kept

    with _ENCODING, torch.no_grad():
        positive, negative = pipeline.encode_prompt(
            list(prompts),
            parts.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guidance > 1 and unet.config.time_cond_proj_dim is None,
            negative_prompt=None if negatives is None else list(negatives),
        )
    pictures = pipeline(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        height=resolution,
        width=resolution,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        callback_on_step_end=after_step,
        output_type="np",
    ).images
    return np.asarray((pictures * 255).round(), dtype=np.uint8)


def schedule_problem(parts: Parts, steps: int) -> str:
    """Return why the base's scheduler cannot sample in so many steps; empty if it can."""
    try:
        copy.deepcopy(parts.scheduler).set_timesteps(steps)
    except (ValueError, IndexError, RuntimeError) as error:
        return str(error).strip().split("\n", 1)[0].rstrip(".")
    return ""


def has_guidance(parts: Parts) -> bool:
    """Whether the base's UNet is guided by a second, unconditional prediction.

    One that was distilled with guidance takes the scale as an input: no negative prompt moves it.
    """
    config = json.loads((parts.unet_config / "config.json").read_text())
    return config.get("time_cond_proj_dim") is None
