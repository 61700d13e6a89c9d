"""Parses a generation request: the body as OpenAI's API has it, and what the worker draws from it.

Unsupported parameters are refused by name: ignoring one would return a picture that differs from
the request. A null means that the parameter is not given; `auto` is the default where OpenAI's API
has it.
"""

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stockpot.api.runspec import RevisionRef
from stockpot.core.digests import PREFIX
from stockpot.errors import StockpotError

MAX_PROMPT_CHARACTERS = 1000
MAX_PICTURES = 8
MAX_STEPS = 100
MAX_GUIDANCE = 50
LARGEST_SEED = 2**53 - 1 - MAX_PICTURES
"""The limit that keeps each picture's seed exact in JavaScript."""
NEVER_SUPPORTED = frozenset({"style", "complexity", "frame_count", "frame_duration_ms", "svg"})
"""Parameters of OpenAI's API that are unsupported whatever their value: only null is accepted."""
_SHOWN_CHARACTERS = 100
"""How many characters of a caller's value a message quotes."""


def _refuse_streaming(stream: bool) -> bool:
    if stream:
        raise ValueError("Input should be false: streaming is not supported")
    return stream


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )

    prompt: Annotated[str, Field(min_length=1)]
    """What the pictures should show."""
    model: str | None = None
    """The soup's name, alone or with the weights that must answer: `name@sha256:…`."""
    n: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 1
    """How many pictures; the seed of each is one more than that of the one before."""
    size: str = "auto"
    """Width and height, as `32x32`: only the soup's resolution is supported."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    """The first picture's seed; without it a random one is used, and named in the answer."""
    negative_prompt: str = ""
    """What the pictures should not show; needs guidance."""
    num_inference_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 20
    """Denoising steps of each picture."""
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)] = 3.0
    """How closely to follow the prompt; 0 and 1 are without guidance, and take half the time."""
    response_format: Literal["b64_json"] = "b64_json"
    """Pictures are part of the answer; there are no URLs."""
    output_format: Literal["png"] = "png"
    """PNG keeps every pixel."""
    output_compression: Annotated[int, Field(ge=100, le=100)] = 100
    """PNG loses nothing, which is what 100 means."""
    quality: Literal["auto", "standard"] = "auto"
    """There is one quality; `num_inference_steps` is what changes it."""
    background: Literal["auto", "opaque"] = "auto"
    """Pictures have no transparency."""
    moderation: Literal["auto"] = "auto"
    """Nothing is filtered."""
    stream: Annotated[bool, AfterValidator(_refuse_streaming)] = False
    """Streaming is not supported."""
    partial_images: Annotated[int, Field(ge=0, le=0)] = 0
    """Only streams have partial images."""
    user: Annotated[str, Field(max_length=256)] | None = None
    """The caller's own name for its user: accepted, and neither stored nor logged."""
    safety_identifier: Annotated[str, Field(max_length=256)] | None = None
    """As `user`."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        optional = (cls.model_fields.keys() | NEVER_SUPPORTED) - {"prompt"}
        return {name: x for name, x in body.items() if x is not None or name not in optional}


class BadParameter(StockpotError):
    """A parameter has a value that this server does not support."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModel(StockpotError):
    """The request names another model than the one soup of this server."""


class WeightsNotServed(StockpotError):
    """The request pins weights that do not serve now."""


@dataclass(frozen=True)
class GenerationRequest:
    """A validated request: everything that determines its pictures, except the weights."""

    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    """One for each picture."""
    steps: int
    guidance: float
    weights_digest: str | None = None
    """The weights that must answer; None takes those that serve when the request's turn comes."""

    def require(self, revision: RevisionRef) -> None:
        """Check that a revision may answer this request.

        Raises:
            WeightsNotServed: The request pins other weights.
        """
        if self.weights_digest not in {None, revision.weights_digest}:
            raise WeightsNotServed(
                f"The weights {self.weights_digest} are not served now; "
                f"{revision.weights_digest} are."
            )


@dataclass(frozen=True)
class UnknownText:
    """A part of a prompt that the text encoder maps to its token for unknown text."""

    parameter: str
    text: str


def generation_request(body: ImageRequest, *, soup: str, resolution: int) -> GenerationRequest:
    """Turn a request body into what the worker draws.

    Raises:
        BadParameter: Its size is not the soup's, or its pinned weights are not a digest.
        UnknownModel: It names another model.
    """
    size = f"{resolution}x{resolution}"
    if body.size not in {"auto", size}:
        raise BadParameter(
            "size", f"size is {quoted(body.size)}; this model draws {size} only (or auto)."
        )
    seed = secrets.randbelow(2**32) if body.seed is None else body.seed
    return GenerationRequest(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seeds=tuple(range(seed, seed + body.n)),
        steps=body.num_inference_steps,
        guidance=body.guidance_scale,
        weights_digest=pinned_weights(body.model, soup),
    )


def pinned_weights(model: str | None, soup: str) -> str | None:
    """Parse the weights that a model's name pins: `name` or `name@sha256:…`.

    Raises:
        UnknownModel: It is not this server's soup.
        BadParameter: The text after `@` is not a digest.
    """
    name, at, pin = (soup if model is None else model).partition("@")
    if name != soup:
        raise UnknownModel(f"There is no model {quoted(name)} here; this server has {soup!r}.")
    if not at:
        return None
    if len(pin) != len(PREFIX) + 64 or not pin.startswith(PREFIX):
        raise BadParameter(
            "model", f"model is pinned to {quoted(pin)}, which is not a digest (sha256:…)."
        )
    return pin


def quoted(value: str) -> str:
    """Quote a caller's text in a message, truncated if it is long."""
    if len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r} …"
    return repr(value)
