"""From a revision in the store to a UNet in memory, and from an order to a PNG.

Every picture is drawn alone: a batch of another size lets the CPU's kernels add in another order,
and then the same request would not always get the same bytes. No HTTP and no threads here.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.nn import Module

from stockpot.api.runspec import RevisionRef
from stockpot.diffusion.pipeline import Parts, load_unet
from stockpot.diffusion.prompts import PromptReader
from stockpot.diffusion.sampling import has_guidance, sample, schedule_problem
from stockpot.errors import ExitCode, Refused
from stockpot.serving.requests import (
    MAX_PROMPT_CHARACTERS,
    BadParameter,
    GenerationRequest,
    UnknownText,
)
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.revisions import fetch_revision

WARM_UP = GenerationRequest(prompt="", negative_prompt="", seeds=(0,), steps=1, guidance=3.0)


@dataclass(frozen=True)
class Renderer:
    """What is the same for all revisions of a soup: where they lie, and the base around them."""

    store: ObjectStore
    keys: Keys
    soup_uid: str
    parts: Parts
    resolution: int

    @cached_property
    def _prompts(self) -> PromptReader:
        return PromptReader(self.parts.tokenizer)

    @cached_property
    def _has_guidance(self) -> bool:
        return has_guidance(self.parts)

    def check(self, order: GenerationRequest) -> tuple[UnknownText, ...]:
        """Refuse an order that this base cannot draw exactly as it was given.

        Returns:
            What the text encoder has no token of its own for: other texts would draw the same.

        Raises:
            BadParameter: The text encoder does not read a prompt whole; the scheduler cannot make
                so many steps; or the guidance is none, or leaves the negative prompt unused.
        """
        unknown = [
            UnknownText(name, part)
            for name, text in (
                ("prompt", order.prompt),
                ("negative_prompt", order.negative_prompt),
            )
            for part in self._unknown_in(name, text)
        ]
        self._check_guidance(order)
        if problem := schedule_problem(self.parts, order.steps):
            raise BadParameter(
                "num_inference_steps",
                f"num_inference_steps is {order.steps}, which the base's scheduler cannot do: "
                f"{problem}.",
            )
        return tuple(unknown)

    def _unknown_in(self, name: str, text: str) -> tuple[str, ...]:
        reading = self._prompts.read(text)
        if reading.problem:
            raise BadParameter(name, f"{name} {reading.problem}.")
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise BadParameter(
                name, f"{name} has {len(text)} characters; {MAX_PROMPT_CHARACTERS} are allowed."
            )
        return reading.unknown

    def _check_guidance(self, order: GenerationRequest) -> None:
        is_guided = self._has_guidance and order.guidance > 1
        if order.negative_prompt and not is_guided:
            why = (
                f"guidance_scale is {order.guidance:g}, and only one above 1 heeds it"
                if self._has_guidance
                else "this base is guided without one"
            )
            raise BadParameter("negative_prompt", f"negative_prompt would not be used: {why}.")
        if self._has_guidance and 0 < order.guidance < 1:
            raise BadParameter(
                "guidance_scale",
                f"guidance_scale is {order.guidance:g}; guidance begins above 1, and 0 and 1 are "
                "without it.",
            )

    def load(self, revision: RevisionRef, folder: Path) -> Module:
        """Fetch and verify a revision; the UNet keeps nothing of the file.

        Raises:
            Refused: See `fetch_revision` and `load_unet`.
            Transient: The store fails.
        """
        path = fetch_revision(self.store, self.keys, self.soup_uid, revision, folder)
        parts = self.parts
        unet: Module = load_unet(parts.unet_config, path, device=parts.device, dtype=parts.dtype)
        return unet

    def warm_up(self, unet: Module) -> None:
        """Draw a first picture, which the first caller would otherwise wait for.

        Raises:
            Refused: The picture is not made of numbers.
        """
        try:
            self.draw(unet, WARM_UP, 0, lambda: None)
        except FloatingPointError as error:
            raise Refused(
                "The revision's first picture is not made of numbers.",
                help="its training diverged: look at the last loss of its shards",
                exit_code=ExitCode.BAD_WEIGHTS,
            ) from error

    def draw(
        self, unet: Module, order: GenerationRequest, seed: int, go_on: Callable[[], None]
    ) -> bytes:
        """Draw one picture, as PNG: the same bytes for the same weights, order and seed.

        Args:
            unet: The revision's.
            order: What to draw; its seeds are not looked at.
            seed: Of this picture.
            go_on: Called after each step; what it raises ends the picture.

        Raises:
            FloatingPointError: The picture has values that are no numbers.
        """
        # Otherwise a NaN would become some colour, with a warning.
        with np.errstate(invalid="raise"):
            (picture,) = sample(
                self.parts,
                unet,
                [order.prompt],
                [seed],
                steps=order.steps,
                guidance=order.guidance,
                negatives=[order.negative_prompt],
                resolution=self.resolution,
                on_step=lambda _: go_on(),
            )
        return png_of(picture)


def png_of(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture, shape (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=6)
    return file.getvalue()
