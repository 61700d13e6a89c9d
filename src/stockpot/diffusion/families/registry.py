"""The family of a base, by the pipeline's class in its model_index.json."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from stockpot.diffusion.families.flux import Flux
from stockpot.diffusion.families.loading import Components
from stockpot.diffusion.families.port import Family
from stockpot.diffusion.families.stable_diffusion import StableDiffusion
from stockpot.diffusion.families.stable_diffusion_xl import StableDiffusionXL

FAMILIES: Mapping[str, Callable[[Components, torch.device, torch.dtype], Family]] = {
    "FluxPipeline": Flux,
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
}


def open_family(
    base: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Family:
    """Load all parts of a base but its denoiser.

    Args:
        base: A pipeline folder that `stockpot.store.base` has admitted.
        device: The device of text encoders and VAE.
        dtype: The dtype of text encoders and denoisers; on a CPU only float32 is worth it.

    Raises:
        Refused: (BAD_BASE) A part is missing, broken, or of a library that no base may name.
    """
    components = Components(base)
    kind = FAMILIES[components.index["_class_name"]]
    return kind(components, torch.device(device), dtype)
