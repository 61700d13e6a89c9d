"""Loads a revision's denoiser from the store, and draws the pictures of a request as PNG.

Each picture is drawn in a batch of its own: in a batch of another size the CPU's kernels add in
another order, so the same request would not always get the same bytes. No HTTP and no threads here.
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
from stockpot.diffusion.drawing import draw
from stockpot.diffusion.families.port import Drawing, Family
from stockpot.diffusion.prompts import PromptReader
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
    """Draws with a soup's revisions: knows the store, and the base model's other parts."""

    store: ObjectStore
    keys: Keys
    soup_uid: str
    family: Family
    resolution: int

    @cached_property
    def _prompts(self) -> PromptReader:
        return PromptReader(self.family.tokenizer)

    def check(self, request: GenerationRequest) -> tuple[UnknownText, ...]:
        """Refuse a request that this base cannot draw exactly as it was given.

        Returns:
            The parts of prompts without a token of their own: other texts would draw the same.

        Raises:
            BadParameter: The text encoder would truncate a prompt; the scheduler cannot make so
                many steps; or the guidance scale is invalid, or leaves the negative prompt unused.
        """
        unknown = [
            UnknownText(name, part)
            for name, text in (
                ("prompt", request.prompt),
                ("negative_prompt", request.negative_prompt),
            )
            for part in self._unknown_in(name, text)
        ]
        self._check_guidance(request)
        if problem := self.family.steps_problem(request.steps):
            raise BadParameter(
                "num_inference_steps",
                f"num_inference_steps is {request.steps}, which the base's scheduler cannot do: "
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

    def _check_guidance(self, request: GenerationRequest) -> None:
        is_guided = self.family.takes_negative_prompt and request.guidance > 1
        if request.negative_prompt and not is_guided:
            why = (
                f"guidance_scale is {request.guidance:g}, and only a scale above 1 applies it"
                if self.family.takes_negative_prompt
                else "this base was distilled with guidance and takes none"
            )
            raise BadParameter("negative_prompt", f"negative_prompt would not be used: {why}.")
        if self.family.takes_negative_prompt and 0 < request.guidance < 1:
            raise BadParameter(
                "guidance_scale",
                f"guidance_scale is {request.guidance:g}; use 0 or 1 for no guidance, or a value "
                "above 1.",
            )

    def load(self, revision: RevisionRef, folder: Path) -> Module:
        """Fetch and verify a revision, and load its denoiser, which shares no memory with the file.

        Raises:
            Refused: See `fetch_revision` and `Family.load_denoiser`.
            Transient: The store fails.
        """
        path = fetch_revision(self.store, self.keys, self.soup_uid, revision, folder)
        family = self.family
        denoiser: Module = family.load_denoiser([path], device=family.device, dtype=family.dtype)
        return denoiser

    def warm_up(self, denoiser: Module) -> None:
        """Draw a first picture, so that the first caller does not wait for the warm-up.

        Raises:
            Refused: The picture has NaN values.
        """
        try:
            self.draw(denoiser, WARM_UP, 0, lambda: None)
        except FloatingPointError as error:
            raise Refused(
                "The revision's first picture is not made of numbers.",
                help="its training diverged: check the last loss of its shards",
                exit_code=ExitCode.BAD_WEIGHTS,
            ) from error

    def draw(
        self, denoiser: Module, request: GenerationRequest, seed: int, on_step: Callable[[], None]
    ) -> bytes:
        """Draw one picture as PNG: the same bytes for the same weights, request and seed.

        Args:
            denoiser: The revision's.
            request: What to draw; its seeds are ignored.
            seed: The seed of this picture.
            on_step: Called after each denoising step; an exception from it ends the picture.

        Raises:
            FloatingPointError: The picture has NaN values.
        """
        # By default NumPy only warns and turns a NaN into some colour.
        with np.errstate(invalid="raise"):
            (picture,) = draw(
                self.family,
                denoiser,
                [request.prompt],
                [seed],
                Drawing(request.steps, request.guidance, self.resolution, self.resolution),
                negatives=[request.negative_prompt],
                on_step=lambda _: on_step(),
            )
        return png_of(picture)


def png_of(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture of shape (H, W, 3) as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=6)
    return file.getvalue()
