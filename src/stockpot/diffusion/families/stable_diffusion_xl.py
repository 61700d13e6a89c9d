"""Stable Diffusion XL: a UNet, two text encoders, and what it is told of each picture's size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stockpot.diffusion.families.loading import Components
from stockpot.diffusion.families.port import Conditions, Denoiser
from stockpot.diffusion.families.stable_diffusion import UNetFamily
from stockpot.diffusion.prompts import limit_window


class StableDiffusionXL(UNetFamily):
    """A base of `StableDiffusionXLPipeline` (Podell et al. 2023, arXiv:2307.01952)."""

    def __init__(self, components: Components, device: torch.device, dtype: torch.dtype) -> None:
        """Load the frozen parts.

        Raises:
            Refused: (BAD_BASE) A part is missing or broken, or none says how many tokens a text
                encoder reads.
        """
        super().__init__(components, device, dtype)
        self.has_zeros_for_empty = bool(components.index.get("force_zeros_for_empty_prompt", True))
        self._encoders = [
            components.load_frozen(name, device=device, dtype=dtype)
            for name in ("text_encoder", "text_encoder_2")
        ]
        self._tokenizers = [components.load(name) for name in ("tokenizer", "tokenizer_2")]
        for tokenizer, encoder in zip(self._tokenizers, self._encoders, strict=True):
            limit_window(tokenizer, encoder)
        # Both read the same number of tokens; prompts are checked with the first.
        self.tokenizer = self._tokenizers[0]

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
        pooled = conditions["pooled_prompt_embeds"]
        predicted: Tensor = denoiser(
            noisy,
            levels_B,
            encoder_hidden_states=conditions["prompt_embeds"],
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes_B6.to(pooled.dtype)},
            return_dict=False,
        )[0]
        return predicted

    def pipeline(self, denoiser: Denoiser, scheduler: Any) -> Any:
        from diffusers import StableDiffusionXLPipeline  # noqa: PLC0415

        return StableDiffusionXLPipeline(  # type: ignore[no-untyped-call]
            vae=self.vae,
            text_encoder=self._encoders[0],
            text_encoder_2=self._encoders[1],
            tokenizer=self._tokenizers[0],
            tokenizer_2=self._tokenizers[1],
            unet=denoiser,
            scheduler=scheduler,
            force_zeros_for_empty_prompt=self.has_zeros_for_empty,
            add_watermarker=False,
        )

    def encode_batch(self, captions: Sequence[str]) -> Conditions:
        encoded = [
            encoder(
                self.tokenize(tokenizer, captions).input_ids.to(self.device),
                output_hidden_states=True,
            )
            for tokenizer, encoder in zip(self._tokenizers, self._encoders, strict=True)
        ]
        return {
            "prompt_embeds": torch.cat([each.hidden_states[-2] for each in encoded], dim=-1),
            # Of the second encoder alone, which has a projection.
            "pooled_prompt_embeds": encoded[1][0],
        }
