"""What families share whose pictures go through a VAE, and which diffusers' pipelines draw."""

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stockpot.diffusion.families.loading import BATCH_SIZE, Components, in_batches
from stockpot.diffusion.families.port import Conditions, Denoiser, Drawing


class LatentFamily:
    """VAE and scheduler of a base, and the run of its pipeline."""

    def __init__(self, components: Components, device: torch.device, dtype: torch.dtype) -> None:
        """Load the VAE, in float32, and the scheduler.

        Raises:
            Refused: (BAD_BASE) A part is missing or broken.
        """
        self.device, self.dtype = device, dtype
        self._folder = components.folder
        # In half precision the VAE of SDXL, for one, overflows.
        self.vae = components.load_frozen("vae", device=device, dtype=torch.float32)
        self.scheduler = components.load("scheduler")
        self.tokenizer: Any = None
        self.latent_channels = int(self.vae.config.latent_channels)
        self.pixels_per_latent = int(2 ** (len(self.vae.config.block_out_channels) - 1))
        self.size_multiple = self.pixels_per_latent
        self.has_zeros_for_empty = False
        self.weighs_by_snr = self.takes_negative_prompt = True
        self._encoding = threading.Lock()
        """A tokenizer keeps how it pads and cuts from one call to the next: of two prompts that are
        read at the same moment, one would be read in the other's way."""

    @torch.no_grad()
    def encode_pictures(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        encoded = [
            self.vae.encode(some.to(self.device, torch.float32)).latent_dist.mode()
            for some in torch.split(images_BCHW, BATCH_SIZE)
        ]
        shift = self._shift
        latents = torch.cat(encoded)
        return (latents if shift is None else latents - shift) * self._scale

    @torch.no_grad()
    def decode(self, latents_BLhw: Tensor) -> Tensor:  # noqa: N803
        latents = latents_BLhw.to(self.device, torch.float32) / self._scale
        if (shift := self._shift) is not None:
            latents = latents + shift
        pictures: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return (pictures * 0.5 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def draw(
        self,
        denoiser: Denoiser,
        drawing: Drawing,
        *,
        positive: Conditions,
        negative: Conditions,
        noise: Tensor,
        generators: Sequence[torch.Generator],
        after_step: Any,
    ) -> Tensor:
        # A scheduler keeps its place between steps: two calls must not share one.
        pipeline = self.pipeline(denoiser, copy.deepcopy(self.scheduler))
        pipeline.set_progress_bar_config(disable=True)
        arguments = dict(positive)
        if self.takes_negative_prompt and drawing.guidance > 1:
            arguments |= {f"negative_{name}": rows for name, rows in negative.items()}
        latents: Tensor = pipeline(
            **arguments,
            **self.guidance_arguments(drawing.guidance),
            latents=self.pack(noise.to(self.device, self.dtype)),
            height=drawing.height,
            width=drawing.width,
            num_inference_steps=drawing.steps,
            generator=list(generators),
            callback_on_step_end=after_step,
            output_type="latent",
        ).images
        return self.unpack(latents, drawing.height, drawing.width)

    @torch.no_grad()
    def encode_captions(self, captions: Sequence[str]) -> Conditions:
        encoded = [self.encode_batch(some) for some in in_batches(captions)]
        return {name: torch.cat([rows[name] for rows in encoded]) for name in encoded[0]}

    def empty_conditions(self) -> Conditions:
        encoded = self.encode_captions([""])
        if self.has_zeros_for_empty:
            return {name: torch.zeros_like(rows) for name, rows in encoded.items()}
        return encoded

    def encode_batch(self, captions: Sequence[str]) -> Conditions:
        """Encode a few captions."""
        raise NotImplementedError

    def tokenize(self, tokenizer: Any, captions: Sequence[str]) -> Any:
        """Turn captions into tokens, each as many as the text encoder reads."""
        with self._encoding:
            return tokenizer(
                list(captions),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )

    def pipeline(self, denoiser: Denoiser, scheduler: Any) -> Any:
        """Make diffusers' pipeline around a denoiser."""
        raise NotImplementedError

    def guidance_arguments(self, guidance: float) -> dict[str, float]:
        """Return the pipeline's arguments for a guidance scale."""
        return {"guidance_scale": guidance}

    def pack(self, latents_BLhw: Tensor) -> Tensor:  # noqa: N803
        """Bring latents into the form that the pipeline takes."""
        return latents_BLhw

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Bring the pipeline's latents into the shape (B, L, h, w)."""
        return latents

    def steps_problem(self, steps: int) -> str:
        try:
            copy.deepcopy(self.scheduler).set_timesteps(steps)
        except (ValueError, IndexError, RuntimeError) as error:
            return str(error).strip().split("\n", 1)[0].rstrip(".")
        return ""

    @property
    def _scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    @property
    def _shift(self) -> float | None:
        shift = getattr(self.vae.config, "shift_factor", None)
        return None if shift is None else float(shift)
