"""Open a base folder and use its frozen parts: the text tower, the codec, the noise schedule.

Offline and without remote code: folders come here after `stockpot.store.base.open_base` has looked
through them. Weights that are not the base's own come through `load_unet`, which takes nothing that
does not fit exactly.

diffusers and transformers are loaded where something is loaded with them, and not before: they take
several seconds, which nobody should wait for whose data, suite or port is refused.
"""

# B batch, C image channels, H and W image size in pixels, T prompt tokens, D embedding width.

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stockpot.diffusion.prompts import limit_window
from stockpot.errors import ExitCode, Refused
from stockpot.store.base import PIPELINE_INDEX

Unet: TypeAlias = Any
"""A diffusers UNet2DConditionModel. The library's classes carry no types that a checker can use."""

_LIBRARIES = ("diffusers", "transformers", "stockpot.diffusion.patch_codec")
_NAMED_AT_MOST = 5
"""How many differences an error message lists."""
_AT_ONCE = 64
"""How many captions or pictures are encoded at a time: bounds memory."""


@dataclass(frozen=True)
class Parts:
    """All of a pipeline but its UNet: frozen, and the same for every shard and soup of a base."""

    unet_config: Path
    """The folder whose `config.json` says what the UNet is."""
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels a latent spans, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def load_parts(
    base: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Parts:
    """Load what surrounds the UNet.

    Args:
        base: A StableDiffusionPipeline folder.
        device: Where text encoder and codec compute.
        dtype: What they compute in; on a CPU nothing but float32 is worth it.

    Raises:
        Refused: (BAD_BASE) A part is missing, or of a library that no base may name; or no part
            says how many tokens the text encoder reads.
    """
    import diffusers  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    index = json.loads((base / PIPELINE_INDEX).read_text())
    where = torch.device(device)

    def load(part: str, **options: Any) -> Any:
        kind = _class_of(index, part)
        try:
            return kind.from_pretrained(base / part, local_files_only=True, **options)
        except (OSError, ValueError, SafetensorError) as error:
            raise Refused(
                f"The base's {part} cannot be loaded: {_first_line(error)}.",
                help=f"Save the pipeline again with save_pretrained; look at {part}/.",
                exit_code=ExitCode.BAD_BASE,
            ) from error

    # A bar for each of five small files would be most of a run's log.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    diffusers.utils.logging.disable_progress_bar()
    text_encoder, tokenizer = load("text_encoder", dtype=dtype), load("tokenizer")
    limit_window(tokenizer, text_encoder)
    return Parts(
        unet_config=base / "unet",
        vae=load("vae", torch_dtype=dtype).to(where).eval().requires_grad_(False),
        text_encoder=text_encoder.to(where).eval().requires_grad_(False),
        tokenizer=tokenizer,
        scheduler=load("scheduler"),
        device=where,
        dtype=dtype,
    )


def load_unet(
    config_folder: Path,
    weights: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Unet:
    """Make a UNet with these weights, in evaluation mode, copied: the file may go afterwards.

    Args:
        config_folder: Of the base's UNet, with its `config.json`.
        weights: A safetensors file with exactly the keys and shapes of that UNet, of any dtype.
        device: Where it computes.
        dtype: What it computes in.

    Raises:
        Refused: (BAD_WEIGHTS) The file cannot be read, or does not fit; names five differences.
    """
    from diffusers import UNet2DConditionModel  # noqa: PLC0415

    kind: Any = UNet2DConditionModel
    # On the meta device nothing is drawn at random only to be overwritten.
    with torch.device("meta"):
        unet = kind.from_config(kind.load_config(config_folder))
    wanted = {key: tuple(tensor.shape) for key, tensor in unet.state_dict().items()}
    try:
        with safe_open(weights, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            _refuse_misfit(weights, wanted, found)
            tensors = {
                key: file.get_tensor(key).to(device=device, dtype=dtype, copy=True)
                for key in wanted
            }
    except (OSError, SafetensorError) as error:
        raise Refused(
            f"{weights.name} cannot be read as safetensors: {_first_line(error)}.",
            help="It was cut short or edited; fetch it or make it again.",
            exit_code=ExitCode.BAD_WEIGHTS,
        ) from error
    unet.load_state_dict(tensors, strict=True, assign=True)
    return tune(unet)


def noise_schedule(parts: Parts) -> Any:
    """The schedule by which noise is added in training and in measuring the loss.

    A base may sample with any scheduler; Euler's, for one, adds noise in other units. All of them
    have the same betas and prediction type in their configurations, and those are what counts.
    """
    from diffusers import DDPMScheduler  # noqa: PLC0415

    kind: Any = DDPMScheduler
    return kind.from_config(parts.scheduler.config)


def tune(unet: Unet) -> Unet:
    """Set what changes speed and not meaning, once for training, evaluation and serving alike."""
    from diffusers.models.attention_processor import AttnProcessor  # noqa: PLC0415

    if unet.device.type == "cpu":
        # Scaled-dot-product attention costs 1.4 times as much on a CPU with narrow heads.
        unet.set_attn_processor(AttnProcessor())
    unet.to(memory_format=torch.channels_last)
    unet.eval()
    return unet


@torch.no_grad()
def encode_captions(parts: Parts, captions: Sequence[str]) -> Tensor:
    """Turn captions into what the UNet attends to, shape (B, T, D), as the pipeline does."""
    return torch.cat([_encode(parts, list(some)) for some in _groups(captions)])


@torch.no_grad()
def encode_pictures(parts: Parts, images_BCHW: Tensor) -> Tensor:  # noqa: N803
    """Turn pictures in [-1, 1] into latents scaled to about unit variance.

    The mode of the codec's distribution, never a sample, so that nothing here is random.
    """
    encoded = [
        parts.vae.encode(some.to(parts.device, parts.dtype)).latent_dist.mode()
        for some in torch.split(images_BCHW, _AT_ONCE)
    ]
    return torch.cat(encoded) * float(parts.vae.config.scaling_factor)


def _encode(parts: Parts, captions: list[str]) -> Tensor:
    tokens = parts.tokenizer(
        captions,
        padding="max_length",
        max_length=parts.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    masked = getattr(parts.text_encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask.to(parts.device) if masked else None
    states: Tensor = parts.text_encoder(tokens.input_ids.to(parts.device), attention_mask=mask)[0]
    return states


def _groups(captions: Sequence[str]) -> Iterator[Sequence[str]]:
    return (captions[at : at + _AT_ONCE] for at in range(0, len(captions), _AT_ONCE))


def _class_of(index: Mapping[str, Any], part: str) -> Any:
    library, name = index.get(part) or ("", "")
    kind = getattr(import_module(library), name, None) if library in _LIBRARIES else None
    if kind is None:
        raise Refused(
            f"The base's {part} is a {name} of {library}, which this program does not load.",
            help=f"Its model_index.json may name classes of {', '.join(_LIBRARIES)}.",
            exit_code=ExitCode.BAD_BASE,
        )
    return kind


def _refuse_misfit(
    weights: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse keys or shapes that differ, naming the first five."""
    if wanted == found:
        return
    differences = [
        f"{key} is {_shape(found.get(key))} and should be {_shape(wanted.get(key))}"
        for key in sorted({*wanted, *found})
        if wanted.get(key) != found.get(key)
    ]
    more = len(differences) - _NAMED_AT_MOST
    raise Refused(
        f"{weights.name} does not fit the base's UNet: "
        + "; ".join(differences[:_NAMED_AT_MOST])
        + (f"; and {more} more." if more > 0 else "."),
        help="It was trained from another base: train it again from this one.",
        exit_code=ExitCode.BAD_WEIGHTS,
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a scalar"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
