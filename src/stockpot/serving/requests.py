"""A request for pictures: what may be asked for, in OpenAI's words, and what the worker is told.

Parsing only. Whatever is not supported is refused by name: a parameter that is silently ignored
would give a picture that nobody asked for. A null is the same as a parameter that is not given, and
`auto` is the default where OpenAI's API has it.
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
"""Every seed, and those of the pictures after the first, are exact in JavaScript."""
NEVER_SUPPORTED = frozenset({"style", "complexity", "frame_count", "frame_duration_ms", "svg"})
"""Parameters of OpenAI's API that no value of ours can satisfy: only a null is taken."""
_SHOWN_CHARACTERS = 100
"""How much of a caller's value a message quotes."""


def _only_whole(stream: bool) -> bool:
    if stream:
        raise ValueError("Input should be false: the answer comes whole")
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
    """Width and height, as `32x32`: the only one is the soup's resolution."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    """Of the first picture; without it one is drawn, and named in the answer."""
    negative_prompt: str = ""
    """What the pictures should not show; needs guidance."""
    num_inference_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 20
    """Denoising steps of each picture."""
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)] = 3.0
    """How closely to follow the prompt; 0 and 1 are without guidance, and take half the time."""
    response_format: Literal["b64_json"] = "b64_json"
    """Pictures stand in the answer; there are no URLs."""
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
    stream: Annotated[bool, AfterValidator(_only_whole)] = False
    """The answer comes whole."""
    partial_images: Annotated[int, Field(ge=0, le=0)] = 0
    """Only a stream has them."""
    user: Annotated[str, Field(max_length=256)] | None = None
    """The caller's own name for its user: accepted, and neither kept nor logged."""
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
    """A parameter has a value that this server cannot do."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModel(StockpotError):
    """The request names another model than the one soup of this server."""


class WeightsNotServed(StockpotError):
    """The request insists on weights that do not serve now."""


@dataclass(frozen=True)
class GenerationRequest:
    """What the worker is told: everything that a picture is a function of, but the weights."""

    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    """One for each picture."""
    steps: int
    guidance: float
    weights_digest: str | None = None
    """Only these may answer; none: whatever serves when the order's turn comes."""

    def require(self, revision: RevisionRef) -> None:
        """Refuse a revision that the order did not insist on.

        Raises:
            WeightsNotServed: It insists on another one.
        """
        if self.weights_digest not in {None, revision.weights_digest}:
            raise WeightsNotServed(
                f"The weights {self.weights_digest} are not served now; "
                f"{revision.weights_digest} are."
            )


@dataclass(frozen=True)
class UnknownText:
    """A part of a prompt that the text encoder cannot tell from others that it does not know."""

    parameter: str
    text: str


def generation_request(request: ImageRequest, *, soup: str, resolution: int) -> GenerationRequest:
    """Turn a request into an order.

    Raises:
        BadParameter: Its size is not the soup's, or its weights are no digest.
        UnknownModel: It names another model.
    """
    size = f"{resolution}x{resolution}"
    if request.size not in {"auto", size}:
        raise BadParameter(
            "size", f"size is {quoted(request.size)}; this model draws {size} only (or auto)."
        )
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    return GenerationRequest(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seeds=tuple(range(seed, seed + request.n)),
        steps=request.num_inference_steps,
        guidance=request.guidance_scale,
        weights_digest=pinned_weights(request.model, soup),
    )


def pinned_weights(model: str | None, soup: str) -> str | None:
    """Read which weights the name of a model insists on: `name` or `name@sha256:…`.

    Raises:
        UnknownModel: It is not this server's soup.
        BadParameter: What stands behind the `@` is no digest.
    """
    name, at, pin = (soup if model is None else model).partition("@")
    if name != soup:
        raise UnknownModel(f"There is no model {quoted(name)} here; this server has {soup!r}.")
    if not at:
        return None
    if len(pin) != len(PREFIX) + 64 or not pin.startswith(PREFIX):
        raise BadParameter(
            "model", f"model is pinned to {quoted(pin)}, which is no digest (sha256:…)."
        )
    return pin


def quoted(value: str) -> str:
    """Quote a caller's text in a message, however long it is."""
    if len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r} …"
    return repr(value)
