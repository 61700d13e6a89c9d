"""Tiny bases of the other families: random but seeded, whole, made in a moment, offline.

base = an_sdxl_base(tmp_path / "sdxl")    16 x 16 pixels, 8 x 8 latents, two CLIP encoders
base = a_flux_base(tmp_path / "flux")     16 x 16 pixels, 8 x 8 latents, CLIP and T5
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tests.tiny import VOCABULARY
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CLIP_TOKENS, T5_TOKENS = 8, 12
WORDS = tuple(word for word in VOCABULARY if word.isalpha())


def an_sdxl_base(folder: Path, *, seed: int = 0, prediction_type: str = "epsilon") -> Path:
    """Write a whole StableDiffusionXLPipeline folder; the same seed gives the same bytes."""
    torch.manual_seed(seed)
    tokenizer = _clip_tokenizer()
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config()).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + 16,
            cross_attention_dim=32,
            norm_num_groups=8,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            timestep_spacing="leading",
            prediction_type=prediction_type,
        ),
        add_watermarker=False,
    )
    return _save(pipeline, folder)


def a_flux_base(
    folder: Path, *, seed: int = 0, guidance_embeds: bool = False, dynamic: bool = True
) -> Path:
    """Write a whole FluxPipeline folder; the same seed gives the same bytes.

    Args:
        folder: Where to.
        seed: Of its weights.
        guidance_embeds: Whether it was distilled with guidance, as FLUX.1-dev was.
        dynamic: Whether the scheduler shifts by resolution; else it shifts by 3.
    """
    torch.manual_seed(seed)
    pipeline = FluxPipeline(
        vae=_vae(scaling_factor=0.8, shift_factor=0.3),
        text_encoder=CLIPTextModel(_clip_config()).eval(),
        text_encoder_2=T5EncoderModel(_t5_config()).eval(),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=dynamic, base_shift=0.5, max_shift=1.15
        ),
    )
    return _save(pipeline, folder)


def _save(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    # The library notes the path that a part was loaded from, and its own version.
    for config in folder.rglob("*.json"):
        fields = json.loads(config.read_text())
        fields.pop("_name_or_path", None)
        config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    return folder


def _vae(**config: Any) -> Any:
    kind: Any = AutoencoderKL
    return kind(
        block_out_channels=(8, 16),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        **config,
    ).eval()


def _clip_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges, tokens = [], [*letters, *(f"{letter}</w>" for letter in letters)]
    for word in WORDS:
        for end in range(2, len(word) + 1):
            closing = "</w>" if end == len(word) else ""
            merges.append(f"{word[: end - 1]} {word[end - 1]}{closing}")
            tokens.append(f"{word[:end]}{closing}")
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=[tuple(merge.split(" ")) for merge in dict.fromkeys(merges)],
        model_max_length=CLIP_TOKENS,
    )


def _clip_config() -> CLIPTextConfig:
    tokenizer = _clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=2,
        num_hidden_layers=3,
        projection_dim=16,
        max_position_embeddings=CLIP_TOKENS,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5_tokenizer() -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    pieces += [(f"▁{word}", -1.0) for word in WORDS]
    pieces += [(chr(code), -4.0) for code in range(ord("a"), ord("z") + 1)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=T5_TOKENS)


def _t5_config() -> T5Config:
    return T5Config(
        vocab_size=len(_t5_tokenizer()),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        dropout_rate=0.0,
    )
