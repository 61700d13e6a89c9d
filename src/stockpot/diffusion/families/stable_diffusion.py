"""Stable Diffusion 1.x and 2.x: a UNet, one text encoder, noise levels of a DDPM schedule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stockpot.diffusion.families.latent_family import LatentFamily
from stockpot.diffusion.families.loading import Components, load_denoiser
from stockpot.diffusion.families.port import Conditions, Denoiser
from stockpot.diffusion.objectives import Ddpm, ObjectiveSettings
from stockpot.diffusion.prompts import limit_window
from stockpot.errors import ExitCode, Refused


class UNetFamily(LatentFamily):
    """What Stable Diffusion and Stable Diffusion XL share."""

    def __init__(self, components: Components, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(components, device, dtype)
        config = components.config_of("unet")
        self.takes_negative_prompt = config.get("time_cond_proj_dim") is None

    def load_denoiser(
        self, weights: Sequence[Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Denoiser:
        from diffusers import UNet2DConditionModel  # noqa: PLC0415
        from diffusers.models.attention_processor import AttnProcessor  # noqa: PLC0415

        unet = load_denoiser(
            UNet2DConditionModel, self._folder / "unet", weights, device=device, dtype=dtype
        )
        if unet.device.type == "cpu":
            # Scaled-dot-product attention costs 1.4 times as much on a CPU with narrow heads.
            unet.set_attn_processor(AttnProcessor())
        return unet.to(memory_format=torch.channels_last)

    def objective(self, settings: ObjectiveSettings) -> Ddpm:
        from diffusers import DDPMScheduler  # noqa: PLC0415

        if settings.flow is not None:
            raise Refused(
                "training.flowMatching is set, and this base predicts no velocity.",
                help="leave it out",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )

        # A base may sample with any scheduler; Euler's, for one, adds noise in other units. All of
        # them have the same betas and prediction type in their configurations: those are what
        # counts.
        kind: Any = DDPMScheduler
        return Ddpm(kind.from_config(self.scheduler.config), settings.snr_gamma)


class StableDiffusion(UNetFamily):
    """A base of `StableDiffusionPipeline`."""

    def __init__(self, components: Components, device: torch.device, dtype: torch.dtype) -> None:
        """Load the frozen parts.

        Raises:
            Refused: (BAD_BASE) A part is missing or broken, or none says how many tokens the text
                encoder reads.
        """
        super().__init__(components, device, dtype)
        self._text_encoder = components.load_frozen("text_encoder", device=device, dtype=dtype)
        self.tokenizer = components.load("tokenizer")
        limit_window(self.tokenizer, self._text_encoder)

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
        predicted: Tensor = denoiser(
            noisy,
            levels_B,
            encoder_hidden_states=conditions["prompt_embeds"],
            return_dict=False,
        )[0]
        return predicted

    def pipeline(self, denoiser: Denoiser, scheduler: Any) -> Any:
        from diffusers import StableDiffusionPipeline  # noqa: PLC0415

        return StableDiffusionPipeline(  # type: ignore[no-untyped-call]
            vae=self.vae,
            text_encoder=self._text_encoder,
            tokenizer=self.tokenizer,
            unet=denoiser,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def encode_batch(self, captions: Sequence[str]) -> Conditions:
        tokens = self.tokenize(self.tokenizer, captions)
        masked = getattr(self._text_encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(self.device) if masked else None
        ids = tokens.input_ids.to(self.device)
        return {"prompt_embeds": self._text_encoder(ids, attention_mask=mask)[0]}
