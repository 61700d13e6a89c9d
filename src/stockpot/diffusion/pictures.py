"""Turn pictures into tensors, alike for training and evaluation."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def pixels(picture: Image.Image, resolution: int) -> Tensor:
    """Scale the shorter side to the resolution and cut the middle out: (3, H, W) in [-1, 1]."""
    fitted = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.asarray(fitted, dtype=np.float32))
    return values.permute(2, 0, 1) / 127.5 - 1
