"""Methods, optimizers, evaluators and weightings by name: which there are, and their options.

One list for lint, local mode, the operator and the runs, so that all of them say the same sentence.
Options are text in a manifest (`options: {learningRate: "1e-4"}`); a class here says which there
are and what each may be. Whatever computes with them is elsewhere: nothing here loads torch. What
other packages bring is passed in, because finding it reads the disk (`stockpot.extensions`).
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from stockpot.api.complaints import Complaint
from stockpot.api.model import Model
from stockpot.api.training import Named, Optimizer

Plugins = Mapping[str, type[BaseModel] | None]
"""What other packages bring, by name; with the model of its options where the package says it."""

_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,18})?([eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def _decimal(value: Any) -> Any:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("is no decimal number")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("is no whole number")
    return value


Decimal = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[Whole, Field(ge=0, le=2**32)]


class Options(Model):
    """The options of one thing that is looked up by name."""


class NoOptions(Options):
    """It has none."""


class AdamWOptions(Options):
    """Those of diffusers' training scripts."""

    learning_rate: Annotated[Decimal, Field(gt=0)] = 1e-4
    """After the warm-up; as `"1e-4"` or `"0.0001"`."""
    beta1: Annotated[Decimal, Field(ge=0, lt=1)] = 0.9
    """How much of the mean of gradients a step keeps."""
    beta2: Annotated[Decimal, Field(ge=0, lt=1)] = 0.999
    """How much of the mean of their squares it keeps."""
    weight_decay: Annotated[Decimal, Field(ge=0)] = 0.01
    """Decoupled from the gradients."""
    epsilon: Annotated[Decimal, Field(gt=0)] = 1e-8
    """Added to what is divided by."""
    max_grad_norm: Annotated[Decimal, Field(gt=0)] = 1.0
    """Larger gradients are scaled down to it."""


class EvaluatorOptions(Options):
    """What an evaluator may be told."""

    def missing(self, name: str) -> Complaint | None:
        """Say what it lacks where a soup names no held-out records."""
        return Complaint(
            f"{name} needs held-out records, and the soup names none",
            help=f"name spec.evaluation.source, or take {name} out of the suite",
        )


class HeldoutLossOptions(EvaluatorOptions):
    """Of the weighted denoising loss on held-out records."""

    levels: Annotated[Whole, Field(ge=1, le=1000)] = 8
    """Noise levels of each record, one drawn from each of as many equal parts of the schedule."""
    snr_gamma: Annotated[Decimal, Field(gt=0)] = 5
    """How the levels are weighted: the training's `snrGamma`."""
    seed: Seed = 0
    """Of the noise."""


class PromptOptions(EvaluatorOptions):
    """Of an evaluator that draws pictures."""

    prompts: str = ""
    """Separated by `|`; none: the held-out captions."""
    steps: Annotated[Whole, Field(ge=1, le=1000)] = 20
    guidance: Annotated[Decimal, Field(ge=0)] = 3
    seed: Seed = 0
    """Of the first picture or column; each further one has the next."""

    @property
    def listed(self) -> tuple[str, ...]:
        """The prompts one by one; none where the option is left out. A last `|` may be there."""
        text = self.prompts.strip().removesuffix("|")
        return tuple(part.strip() for part in text.split("|")) if self.prompts else ()

    @model_validator(mode="after")
    def _no_prompt_is_lost(self) -> "PromptOptions":
        if any(not prompt for prompt in self.listed):
            raise ValueError("prompts has an empty one; write them with | between two, and no more")
        repeated = [one for one in self.listed if self.listed.count(one) > 1]
        if repeated:
            raise ValueError(f"prompts has {repeated[0]!r} twice; write each once")
        return self

    def missing(self, name: str) -> Complaint | None:
        if self.prompts:
            return None
        return Complaint(
            f"{name} has no prompts, because there are no held-out records",
            help=f"name spec.evaluation.source, or give {name} prompts: a cat|a dog",
        )


class StyleOptions(PromptOptions):
    """Of what pictures look like as a whole."""

    count: Annotated[Whole, Field(ge=1, le=10_000)] = 64
    """How many pictures; prompts are used round and round."""

    @model_validator(mode="after")
    def _every_prompt_is_drawn(self) -> "StyleOptions":
        if len(self.listed) > self.count:
            raise ValueError(
                f"count is {self.count}, and so {len(self.listed) - self.count} of the "
                f"{len(self.listed)} prompts would not be drawn"
            )
        return self


class SamplesOptions(PromptOptions):
    """Of a sheet of pictures for people: a row for each prompt, a column for each seed."""

    rows: Annotated[Whole, Field(ge=1, le=100)] = 8
    """How many held-out captions, where no prompts are given."""
    columns: Annotated[Whole, Field(ge=1, le=32)] = 4
    """How many seeds."""

    @model_validator(mode="after")
    def _rows_are_counted_once(self) -> "SamplesOptions":
        if self.prompts and "rows" in self.model_fields_set:
            raise ValueError("rows counts held-out captions, and prompts are given; leave one out")
        return self


@dataclass(frozen=True, eq=False)
class Registry:
    """What may be named in one field of a Soup."""

    noun: str
    """What people call one of them."""
    field: str
    """Where it is named, in the spec of a Soup."""
    built_in: Mapping[str, type[Options]]
    group: str = ""
    """The entry-point group that other packages add to; empty: nothing can be added."""

    @property
    def article(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    def known(self, plugins: Plugins) -> tuple[str, ...]:
        """Every name that may be written."""
        return tuple(sorted({*self.built_in, *plugins}))

    def is_known(self, named: Named | Optimizer, plugins: Plugins) -> bool:
        """Whether there is one of the name."""
        return named.name in self.built_in or named.name in plugins

    def complaints(self, named: Named | Optimizer, plugins: Plugins) -> list[Complaint]:
        """Say what is wrong with a name and its options; paths begin at what is named."""
        if not self.is_known(named, plugins):
            return [self._unknown(named.name, plugins)]
        model = self.built_in.get(named.name) or plugins.get(named.name)
        if model is None:
            return []  # The package that brings it does not say which options it has.
        takes_any = model.model_config.get("extra") == "allow"
        unknown = sorted(named.options.keys() - option_names(model))
        if unknown and not takes_any:
            return [_unknown_option(named.name, model, option) for option in unknown]
        try:
            _validate(model, named.options)
        except ValidationError as error:
            return [_say(named, found) for found in error.errors(include_url=False)]
        return []

    def _unknown(self, name: str, plugins: Plugins) -> Complaint:
        known = self.known(plugins)
        message = f"there is no {self.noun} {name}; there is {', '.join(known)}"
        if near := difflib.get_close_matches(name.lower(), [one.lower() for one in known], n=1):
            meant = next(one for one in known if one.lower() == near[0])
            return Complaint(message, ("name",), help=f"did you mean {meant}?")
        if not self.group:
            return Complaint(message, ("name",), help=f"change {self.field} of the Soup")
        return Complaint(
            message,
            ("name",),
            help=f"install a package with an entry point {name} in {self.group} (on a cluster, in "
            f"both images), or change {self.field} of the Soup",
        )


METHODS = Registry(
    "training method", "training.method", {"FineTune": NoOptions}, "stockpot.training"
)
OPTIMIZERS = Registry("optimizer", "training.optimizer", {"AdamW": AdamWOptions})
EVALUATORS = Registry(
    "evaluator",
    "evaluation.suite",
    {"heldout_loss": HeldoutLossOptions, "samples": SamplesOptions, "style": StyleOptions},
    "stockpot.evaluator",
)
WEIGHTINGS = Registry("weighting", "merge.weighting", {"Declared": NoOptions}, "stockpot.weighting")


@dataclass(frozen=True)
class Installed:
    """What the packages of one environment bring."""

    methods: Plugins = field(default_factory=dict)
    evaluators: Plugins = field(default_factory=dict)
    weightings: Plugins = field(default_factory=dict)


def suite_complaints(
    suite: Sequence[Named], plugins: Plugins, *, has_records: bool
) -> Iterator[Complaint]:
    """Say what is wrong with the evaluators of a suite; paths begin at the suite.

    Args:
        suite: The evaluators.
        plugins: Those of other packages.
        has_records: Whether the soup names held-out records.
    """
    before: set[str] = set()
    for place, named in enumerate(suite):
        for complaint in EVALUATORS.complaints(named, plugins):
            yield complaint.below(place)
        if named.name in before:
            yield Complaint(
                f"{named.name} is in the suite twice: one's figures would replace the other's",
                (place, "name"),
                help="keep one of them",
            )
        before.add(named.name)
        model = EVALUATORS.built_in.get(named.name)
        if model is None or has_records or EVALUATORS.complaints(named, plugins):
            continue
        options = read_options(model, named)
        assert isinstance(options, EvaluatorOptions)
        if missing := options.missing(named.name):
            yield missing.below(place, "name")


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def read_options(model: type[OptionsT], named: Named | Optimizer) -> OptionsT:
    """Make an options model, or a class that extends one, from what was written.

    Only after the registry had nothing to complain of.
    """
    return _validate(model, named.options)


def option_names(model: type[BaseModel]) -> frozenset[str]:
    """The options of a model, as users write them."""
    return frozenset(info.alias or name for name, info in model.model_fields.items())


def _validate(model: type[OptionsT], options: Mapping[str, str]) -> OptionsT:
    # By alias alone: two spellings of one option could otherwise both be given.
    aliased = any(info.alias for info in model.model_fields.values())
    return model.model_validate(dict(options), by_alias=aliased, by_name=not aliased)


def _unknown_option(name: str, model: type[BaseModel], option: str) -> Complaint:
    known = [info.alias or field_name for field_name, info in model.model_fields.items()]
    if not known:
        return Complaint(
            f"{name} has no option {option}; it has none at all",
            ("options", option),
            help="remove it",
        )
    message = f"{name} has no option {option}; its options are {', '.join(known)}"
    near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
    close = near or [one for one in known if _initials(one) == option.lower()]
    help_ = f"did you mean {close[0]}?" if close else "write one of these, or remove it"
    return Complaint(message, ("options", option), help=help_)


def _initials(option: str) -> str:
    """Shorten `learningRate` to `lr`."""
    return option[0] + "".join(letter.lower() for letter in option if letter.isupper())


_BOUNDS: Mapping[str, str] = {
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
}


def _say(named: Named | Optimizer, found: Any) -> Complaint:
    """Turn what pydantic found in one option into a sentence."""
    context = found.get("ctx") or {}
    if not found["loc"]:  # About several options together.
        return Complaint(f"{named.name}'s {_reason(found)}", ("options",))
    option = str(found["loc"][0])
    path = ("options", option)
    text = named.options.get(option, "")
    subject = f"{named.name}'s {option}"
    if found["type"] in _BOUNDS:
        bounds = {name: f"{bound:g}" for name, bound in context.items()}
        return Complaint(f"{subject} is {text}; {_BOUNDS[found['type']].format(**bounds)}", path)
    if found["type"] == "missing":
        return Complaint(
            f"{subject} is missing", ("options",), help=f"write options: {{{option}: …}}"
        )
    if found["type"] == "value_error":
        return Complaint(f"{subject} is {text!r}, which {_reason(found)}", path)
    message = found["msg"]
    return Complaint(f"{subject} is {text!r}: {message[0].lower()}{message[1:]}", path)


def _reason(found: Any) -> str:
    return str(found["ctx"]["error"]) if "error" in (found.get("ctx") or {}) else found["msg"]
