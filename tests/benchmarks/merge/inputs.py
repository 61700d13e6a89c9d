"""Checkpoints to merge: the tensor list of Stable Diffusion 1.5's UNet, and fine-tunes of one base.

A fine-tune is the base plus a small difference of its own, so that exponents lie as they do in
practice. Written once, kept in the cache.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOL = 1 << 22
FILES = 8


def shapes(narrow: bool) -> dict[str, tuple[int, ...]]:
    """The real list of 686 tensors and 859,520,964 parameters, or a narrower copy of it."""
    import torch
    from diffusers import UNet2DConditionModel

    channels = (112, 224, 448, 448) if narrow else (320, 640, 1280, 1280)
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            attention_head_dim=8,
            block_out_channels=channels,
            norm_num_groups=16 if narrow else 32,
        )
    return {key: tuple(tensor.shape) for key, tensor in sorted(unet.state_dict().items())}


def stored(values: NDArray[np.float32], dtype: str) -> bytes:
    """Round to a type, as bytes."""
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def _twice(seed: int, scale: float) -> NDArray[np.float32]:
    """Random numbers, and the same again behind them: a stretch from anywhere is a roll of them."""
    once = (np.random.default_rng(seed).normal(size=POOL) * scale).astype(np.float32)
    return np.concatenate([once, once])


def files(folder: Path, size: str, dtype: str, count: int) -> list[Path]:
    """Find the checkpoints, or write them."""
    folder = folder / f"{size}-{dtype}"
    paths = [folder / f"{i:02}.safetensors" for i in range(count)]
    if all(path.is_file() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    listed = shapes(narrow=size == "small")
    item = {"F16": 2, "BF16": 2, "F32": 4}[dtype]
    offset, document = 0, {}
    for key, shape in listed.items():
        end = offset + int(np.prod(shape)) * item
        document[key] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    base = _twice(0, 0.03)
    for number, path in enumerate(paths):
        if path.is_file():
            continue
        own = _twice(number + 1, 0.001)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            left, turn = offset // item, 0
            while left:
                count_now = min(left, POOL)
                # Rolled by other steps, so that no two stretches of a file are the same.
                at, of_own = -turn * 7919 % POOL, -turn * 104729 % POOL
                block = base[at : at + POOL] + own[of_own : of_own + POOL]
                file.write(stored(block[:count_now], dtype))
                left, turn = left - count_now, turn + 1
        part.replace(path)
    return paths
