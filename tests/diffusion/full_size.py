"""The denoisers of the released models at their full size, on the meta device: shapes, no numbers.

The configurations are those of the models' own `config.json`, where they differ from the defaults
of the library's classes.
"""

from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel

SD_1_5: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FLUX_DEV: dict[str, Any] = {"guidance_embeds": True}


def sd_1_5() -> Any:
    with torch.device("meta"):
        return UNet2DConditionModel(**SD_1_5)


def sdxl() -> Any:
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL)


def flux_dev() -> Any:
    with torch.device("meta"):
        return FluxTransformer2DModel(**FLUX_DEV)
