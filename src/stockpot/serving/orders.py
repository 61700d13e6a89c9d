"""A request for pictures: what may be asked for, in OpenAI's words, and what the worker is told.

Parsing only. Whatever is not supported is refused by name: a parameter that is silently ignored
would give a picture that nobody asked for.
"""

import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stockpot.api.runspec import RevisionRef
from stockpot.core.digests import PREFIX
from stockpot.errors import StockpotError

MAX_PROMPT_CHARACTERS = 1000
MAX_PICTURES = 8
MAX_STEPS = 100
MAX_GUIDANCE = 50
LARGEST_SEED = 2**53 - 1 - MAX_PICTURES
"""Every seed, and those of the pictures after the first, are exact in JavaScript."""

Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )

    prompt: Annotated[Prompt, Field(min_length=1)]
    """What the pictures should show."""
    model: str | None = None
    """The soup's name, alone or with the weights that must answer: `name@sha256:…`."""
    n: Annotated[int, Field(ge=1, le=MAX_PICTURES)] = 1
    """How many pictures; the seed of each is one more than that of the one before."""
    size: str | None = None
    """Width and height, as `32x32`: the only one is the soup's resolution."""
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = None
    """Of the first picture; without it one is drawn, and named in the answer."""
    negative_prompt: Prompt = ""
    """What the pictures should not show."""
    num_inference_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 20
    guidance_scale: Annotated[float, Field(ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)] = 3.0
    """How closely to follow the prompt; 1 or less is without guidance, and takes half the time."""
    user: Annotated[str, Field(max_length=256)] | None = None
    """The caller's own name for its user: accepted, and neither kept nor logged."""


class BadParameter(StockpotError):
    """A parameter has a value that this server cannot do."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownModel(StockpotError):
    """The request names another model than the one soup of this server."""


class NotServed(StockpotError):
    """The request insists on weights that do not serve now."""


@dataclass(frozen=True)
class Order:
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
            NotServed: It insists on another one.
        """
        if self.weights_digest not in {None, revision.weights_digest}:
            raise NotServed(
                f"The weights {self.weights_digest} are not served now; "
                f"{revision.weights_digest} are."
            )


def order_of(request: ImageRequest, *, soup: str, resolution: int) -> Order:
    """Turn a request into an order.

    Raises:
        BadParameter: Its size is not the soup's.
        UnknownModel: It names another model.
    """
    size = f"{resolution}x{resolution}"
    if request.size not in {None, "auto", size}:
        raise BadParameter("size", f"size is {request.size!r}; this model draws {size} only.")
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    return Order(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seeds=tuple(range(seed, seed + request.n)),
        steps=request.num_inference_steps,
        guidance=request.guidance_scale,
        weights_digest=_pinned(request.model, soup),
    )


def _pinned(model: str | None, soup: str) -> str | None:
    name, _, pin = (soup if model is None else model).partition("@")
    if name != soup:
        raise UnknownModel(f"There is no model {name!r} here; this server has {soup!r}.")
    if not pin:
        return None
    if len(pin) != len(PREFIX) + 64 or not pin.startswith(PREFIX):
        raise BadParameter("model", f"model is pinned to {pin!r}, which is no digest (sha256:…).")
    return pin
