"""The kinds of pipelines that a base may be: components, their classes, and the files they need.

Data alone, without torch: admission, the merge and local mode read it. How a family trains and
draws is in `stockpot.diffusion.families`. To support another pipeline, add its layout here and its
module there; its name occurs nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PIPELINE_INDEX = "model_index.json"

Class = tuple[str, str]
"""Library and class, as in model_index.json."""


@dataclass(frozen=True)
class Component:
    """One component of a pipeline."""

    classes: frozenset[Class]
    """The classes that it may have."""
    files: tuple[tuple[str, ...], ...] = ()
    """The files that it needs beside its weights; any one of a group will do."""
    weights: str = ""
    """Stem of its weights file; empty for a component without weights."""
    is_needed: bool = True
    """Whether a pipeline without it is refused."""


@dataclass(frozen=True)
class FamilyLayout:
    """The folder of one kind of pipeline."""

    denoiser: str
    """The component that is trained and merged: `unet` or `transformer`."""
    components: Mapping[str, Component] = field(default_factory=dict)
    latents_per_token: int = 1
    """Latents along one side of what the denoiser sees as one token."""

    @property
    def denoiser_stem(self) -> str:
        """The denoiser's weights file, without its suffix."""
        return f"{self.denoiser}/{self.components[self.denoiser].weights}"


_MODEL, _ENCODER = "diffusion_pytorch_model", "model"


def _model(library: str, *names: str, others: frozenset[Class] = frozenset()) -> Component:
    classes = frozenset((library, name) for name in names) | others
    stem = _MODEL if library == "diffusers" else _ENCODER
    return Component(classes, (("config.json",),), stem)


_TOKENIZER_FILES = (
    ("tokenizer_config.json",),
    ("vocab.txt", "vocab.json", "tokenizer.json", "spiece.model"),
)
_DDPM_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)


def _tokenizer(*names: str) -> Component:
    kinds = (kind for name in names for kind in (name, f"{name}Fast"))
    return Component(frozenset(("transformers", kind) for kind in kinds), _TOKENIZER_FILES)


def _scheduler(*names: str) -> Component:
    classes = frozenset(("diffusers", name) for name in names)
    return Component(classes, (("scheduler_config.json",),))


_VAE = _model(
    "diffusers",
    "AutoencoderKL",
    others=frozenset({("stockpot.diffusion.patch_codec", "PatchCodec")}),
)
_OPTIONAL: Mapping[str, Component] = {
    "safety_checker": Component(
        frozenset({("stable_diffusion", "StableDiffusionSafetyChecker")}),
        weights=_ENCODER,
        is_needed=False,
    ),
    "feature_extractor": Component(
        frozenset(
            {("transformers", "CLIPImageProcessor"), ("transformers", "CLIPFeatureExtractor")}
        ),
        is_needed=False,
    ),
    "image_encoder": Component(frozenset(), is_needed=False),
}

LAYOUTS: Mapping[str, FamilyLayout] = {
    "StableDiffusionPipeline": FamilyLayout(
        "unet",
        {
            "unet": _model("diffusers", "UNet2DConditionModel"),
            "vae": _VAE,
            "text_encoder": _model("transformers", "CLIPTextModel", "BertModel"),
            "tokenizer": _tokenizer("CLIPTokenizer", "BertTokenizer"),
            "scheduler": _scheduler(*_DDPM_SCHEDULERS),
            **_OPTIONAL,
        },
    ),
    "StableDiffusionXLPipeline": FamilyLayout(
        "unet",
        {
            "unet": _model("diffusers", "UNet2DConditionModel"),
            "vae": _VAE,
            "text_encoder": _model("transformers", "CLIPTextModel"),
            "text_encoder_2": _model("transformers", "CLIPTextModelWithProjection"),
            "tokenizer": _tokenizer("CLIPTokenizer"),
            "tokenizer_2": _tokenizer("CLIPTokenizer"),
            "scheduler": _scheduler(*_DDPM_SCHEDULERS),
            "feature_extractor": _OPTIONAL["feature_extractor"],
            "image_encoder": _OPTIONAL["image_encoder"],
        },
    ),
    "FluxPipeline": FamilyLayout(
        "transformer",
        {
            "transformer": _model("diffusers", "FluxTransformer2DModel"),
            "vae": _VAE,
            "text_encoder": _model("transformers", "CLIPTextModel"),
            "text_encoder_2": _model("transformers", "T5EncoderModel"),
            "tokenizer": _tokenizer("CLIPTokenizer"),
            "tokenizer_2": _tokenizer("T5Tokenizer"),
            "scheduler": _scheduler("FlowMatchEulerDiscreteScheduler"),
            "feature_extractor": _OPTIONAL["feature_extractor"],
            "image_encoder": _OPTIONAL["image_encoder"],
        },
        latents_per_token=2,
    ),
}
"""By the pipeline's class."""
