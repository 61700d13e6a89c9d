"""Turn pictures into tensors, alike for training and evaluation."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def crop_sizes(picture: Image.Image, resolution: int) -> Tensor:
    """Return what `pixels` does to a picture, as Stable Diffusion XL is told of it.

    Returns:
        Original height and width; top and left of the cut in the scaled picture; height and width
        that were aimed at. In pixels, shape (6,).
    """
    width, height = picture.size
    scale = resolution / min(width, height)
    top, left = (max(0, round((side * scale - resolution) / 2)) for side in (height, width))
    return torch.tensor([height, width, top, left, resolution, resolution])


def pixels(picture: Image.Image, resolution: int) -> Tensor:
    """Scale the shorter side to the resolution and cut the middle out: (3, H, W) in [-1, 1]."""
    fitted = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.asarray(fitted, dtype=np.float32))
    return values.permute(2, 0, 1) / 127.5 - 1
