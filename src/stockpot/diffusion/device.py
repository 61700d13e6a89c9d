"""The device that models are loaded on, and the type of denoisers and text encoders there."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """Where models are loaded, and in which type; VAEs are float32 everywhere."""

    device: torch.device
    dtype: torch.dtype


def drawing_device() -> Device:
    """Choose for drawing: a GPU in the half precision that it has, else a CPU in float32.

    bfloat16 has float32's range, so it is taken where the GPU computes in it; float16 may overflow
    in models that were not made for it. A CPU gains nothing from either.
    """
    if not torch.cuda.is_available():
        return Device(torch.device("cpu"), torch.float32)
    is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Device(torch.device("cuda"), torch.bfloat16 if is_native else torch.float16)
