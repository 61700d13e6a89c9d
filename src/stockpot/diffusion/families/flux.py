"""FLUX.1: a transformer over packed latents, CLIP and T5, and flow matching."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stockpot.api.training import FlowMatchingTraining
from stockpot.diffusion.families.latent_family import LatentFamily
from stockpot.diffusion.families.loading import Components, load_denoiser
from stockpot.diffusion.families.port import Conditions, Denoiser
from stockpot.diffusion.objectives import FlowMatching, ObjectiveSettings
from stockpot.diffusion.prompts import limit_window
from stockpot.errors import ExitCode, Refused

LONGEST_PROMPT_TOKENS = 512
"""How many tokens of T5 the released models were trained with."""
PATCH = 2
"""Latents along one side of a token."""


class Flux(LatentFamily):
    """A base of `FluxPipeline`: the dev, schnell and Krea models of FLUX.1."""

    def __init__(self, components: Components, device: torch.device, dtype: torch.dtype) -> None:
        """Load the frozen parts.

        Raises:
            Refused: (BAD_BASE) A part is missing or broken.
        """
        super().__init__(components, device, dtype)
        config = components.config_of("transformer")
        self.size_multiple = self.pixels_per_latent * PATCH
        self.weighs_by_snr = False
        self.takes_negative_prompt = not config.get("guidance_embeds", False)
        self._clip, self._t5 = (
            components.load_frozen(name, device=device, dtype=dtype)
            for name in ("text_encoder", "text_encoder_2")
        )
        self._clip_tokenizer = components.load("tokenizer")
        self.tokenizer = components.load("tokenizer_2")
        limit_window(self._clip_tokenizer, self._clip)
        limit_window(self.tokenizer, self._t5, at_most=LONGEST_PROMPT_TOKENS)

    def load_denoiser(
        self, weights: Sequence[Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Denoiser:
        from diffusers import FluxTransformer2DModel  # noqa: PLC0415

        folder = self._folder / "transformer"
        return load_denoiser(FluxTransformer2DModel, folder, weights, device=device, dtype=dtype)

    def objective(self, settings: ObjectiveSettings) -> FlowMatching:
        if settings.snr_gamma is not None:
            raise Refused(
                "snrGamma is set, and this base is trained by flow matching, where it has no "
                "meaning.",
                help="leave it out",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        if settings.noise_offset:
            raise Refused(
                "noiseOffset is set, and this base is trained by flow matching, where it has no "
                "meaning.",
                help="leave it out",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        flow = settings.flow or FlowMatchingTraining()
        is_guidance_set = flow.guidance_scale != FlowMatchingTraining().guidance_scale
        if self.takes_negative_prompt and is_guidance_set:
            raise Refused(
                "flowMatching.guidanceScale is set, and this base was not distilled with guidance: "
                "it is told none.",
                help="leave it out",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        return FlowMatching(self._shift_of(flow, settings.resolution), flow)

    def predict(
        self,
        denoiser: Denoiser,
        noisy: Tensor,
        levels_B: Tensor,  # noqa: N803
        conditions: Conditions,
        sizes_B6: Tensor,  # noqa: N803
        *,
        guidance: float = 3.5,
    ) -> Tensor:
        from diffusers import FluxPipeline  # noqa: PLC0415

        states = conditions["prompt_embeds"]
        height, width = (side * self.pixels_per_latent for side in noisy.shape[-2:])
        scale = None
        if not self.takes_negative_prompt:
            scale = torch.full((len(noisy),), guidance, device=noisy.device)
        predicted: Tensor = denoiser(
            hidden_states=self.pack(noisy),
            # The transformer multiplies it by a thousand.
            timestep=levels_B,
            guidance=scale,
            pooled_projections=conditions["pooled_prompt_embeds"],
            encoder_hidden_states=states,
            txt_ids=torch.zeros(states.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                len(noisy),
                noisy.shape[-2] // PATCH,
                noisy.shape[-1] // PATCH,
                noisy.device,
                noisy.dtype,
            ),
            return_dict=False,
        )[0]
        return self.unpack(predicted, height, width)

    def pipeline(self, denoiser: Denoiser, scheduler: Any) -> Any:
        from diffusers import FluxPipeline  # noqa: PLC0415

        return FluxPipeline(  # type: ignore[no-untyped-call]
            scheduler=scheduler,
            vae=self.vae,
            text_encoder=self._clip,
            tokenizer=self._clip_tokenizer,
            text_encoder_2=self._t5,
            tokenizer_2=self.tokenizer,
            transformer=denoiser,
        )

    def guidance_arguments(self, guidance: float) -> dict[str, float]:
        return {"true_cfg_scale" if self.takes_negative_prompt else "guidance_scale": guidance}

    def pack(self, latents_BLhw: Tensor) -> Tensor:  # noqa: N803
        from diffusers import FluxPipeline  # noqa: PLC0415

        packed: Tensor = FluxPipeline._pack_latents(latents_BLhw, *latents_BLhw.shape)
        return packed

    def unpack(self, latents: Tensor, height: int, width: int) -> Tensor:
        from diffusers import FluxPipeline  # noqa: PLC0415

        unpacked: Tensor = FluxPipeline._unpack_latents(
            latents, height, width, self.pixels_per_latent
        )
        return unpacked

    def steps_problem(self, steps: int) -> str:
        return ""  # Any number of steps divides a flow.

    def _shift_of(self, flow: FlowMatchingTraining, resolution: int) -> float:
        config = self.scheduler.config
        if flow.shift is not None:
            return float(flow.shift)
        if flow.shift_by_resolution:
            # As the pipeline computes it for sampling, from the number of tokens.
            tokens = (resolution // self.size_multiple) ** 2
            few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
            low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
            return math.exp(low + (high - low) * (tokens - few) / (many - few))
        return 1.0 if config.get("use_dynamic_shifting") else float(config.get("shift", 1.0))

    def encode_batch(self, captions: Sequence[str]) -> Conditions:
        clip_ids = self.tokenize(self._clip_tokenizer, captions).input_ids.to(self.device)
        t5_ids = self.tokenize(self.tokenizer, captions).input_ids.to(self.device)
        return {
            "prompt_embeds": self._t5(t5_ids)[0],
            "pooled_prompt_embeds": self._clip(clip_ids).pooler_output,
        }
