"""Registries of methods, optimizers, evaluators and weightings, with their options.

Lint, local mode, the operator and the runs share them, and so report mistakes in the same words.
Options are text in a manifest (`options: {learningRate: "1e-4"}`); a class here declares their
names, types and bounds. Nothing here loads torch. Plugins of other packages are passed in, because
finding them reads the disk (`stockpot.extensions`).
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
"""Plugins of other packages, by name, with the model of their options or None."""

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


def _truth(value: Any) -> Any:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return value == "true" if isinstance(value, str) else value


Decimal = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[Whole, Field(ge=0, le=2**32)]


class Options(Model):
    """The options of an entry of a registry."""


class NoOptions(Options):
    """Options of an entry that takes none."""


class AdamWOptions(Options):
    """Options of AdamW, with the defaults of diffusers' training scripts."""

    learning_rate: Annotated[Decimal, Field(gt=0)] = 1e-4
    """The learning rate after the warm-up, as `"1e-4"` or `"0.0001"`."""
    beta1: Annotated[Decimal, Field(ge=0, lt=1)] = 0.9
    """Decay rate of the running mean of gradients."""
    beta2: Annotated[Decimal, Field(ge=0, lt=1)] = 0.999
    """Decay rate of the running mean of squared gradients."""
    weight_decay: Annotated[Decimal, Field(ge=0)] = 0.01
    """Weight decay, decoupled from the gradients."""
    epsilon: Annotated[Decimal, Field(gt=0)] = 1e-8
    """Added to the denominator, against division by 0."""
    max_grad_norm: Annotated[Decimal, Field(gt=0)] = 1.0
    """Maximum norm of the gradients; larger ones are scaled down to it."""


ATTENTION, LINEAR_LAYERS, ALL_LAYERS = "attention", "linear", "all"
"""Which layers a LoRA trains, besides names."""
_RANK = re.compile(r"([\w.]+)=([1-9][0-9]{0,3})", re.ASCII)


class LoraOptions(Options):
    """Options of a LoRA, with peft's names."""

    rank: Annotated[Whole, Field(ge=1, le=1024)] = 16
    """The rank of the factors."""
    lora_alpha: Annotated[Decimal, Field(gt=0)] | None = None
    """The factors' product counts `loraAlpha / rank`; if not given, as much as the rank."""
    target_modules: str = ATTENTION
    """`attention`, `linear`, `all` (linear and convolution), or ends of layers' names with `|`."""
    rank_pattern: str = ""
    """Other ranks of some layers, by the ends of their names: `to_q=8|to_v=4`."""
    dropout: Annotated[Decimal, Field(ge=0, lt=1)] = 0.0
    """The share of a layer's input that is dropped in a step."""
    use_rslora: Annotated[bool, BeforeValidator(_truth)] = False
    """Whether the product counts `loraAlpha` by the root of the rank (Kalajdzievski 2023)."""

    @property
    def ranks(self) -> dict[str, int]:
        """The rank pattern, by the end of a layer's name."""
        parts = [part.strip() for part in self.rank_pattern.split("|")] if self.rank_pattern else []
        matches = [_RANK.fullmatch(part) for part in parts]
        if not all(matches):
            raise ValueError("is no list of NAME=RANK with | between them, such as to_q=8|to_v=4")
        return {match[1]: int(match[2]) for match in matches if match}

    @model_validator(mode="after")
    def _ranks_can_be_read(self) -> "LoraOptions":
        _ = self.ranks
        return self


class EvaluatorOptions(Options):
    """The options of an evaluator."""

    def missing(self, name: str) -> Complaint | None:
        """Return what the evaluator lacks if a soup names no held-out records, or None."""
        return Complaint(
            f"{name} needs held-out records, and the soup names none",
            help=f"name spec.evaluation.source, or take {name} out of the suite",
        )


class HeldoutLossOptions(EvaluatorOptions):
    """Options of the weighted denoising loss on held-out records."""

    levels: Annotated[Whole, Field(ge=1, le=1000)] = 8
    """Noise levels of each record: one from each of as many equal parts of the schedule."""
    snr_gamma: Annotated[Decimal, Field(gt=0)] = 5
    """The `snrGamma` that weighs the levels, as in training."""
    seed: Seed = 0
    """Seed of the noise."""


class PromptOptions(EvaluatorOptions):
    """Options of an evaluator that generates pictures."""

    prompts: str = ""
    """Prompts, separated by `|`; if empty, the held-out captions."""
    steps: Annotated[Whole, Field(ge=1, le=1000)] = 20
    """Number of denoising steps."""
    guidance: Annotated[Decimal, Field(ge=0)] = 3
    """Scale of classifier-free guidance."""
    seed: Seed = 0
    """Seed of the first picture or column; each further one has the next seed."""

    @property
    def listed(self) -> tuple[str, ...]:
        """The prompts as a tuple, empty without the option. A trailing `|` is allowed."""
        text = self.prompts.strip().removesuffix("|")
        return tuple(part.strip() for part in text.split("|")) if self.prompts else ()

    @model_validator(mode="after")
    def _no_prompt_is_lost(self) -> "PromptOptions":
        if any(not prompt for prompt in self.listed):
            raise ValueError("prompts has an empty one; write them with | between two, and no more")
        repeated = [prompt for prompt in self.listed if self.listed.count(prompt) > 1]
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
    """Options of the evaluator of the style of a set of pictures."""

    count: Annotated[Whole, Field(ge=1, le=10_000)] = 64
    """Number of pictures; prompts are repeated in turn."""

    @model_validator(mode="after")
    def _every_prompt_is_drawn(self) -> "StyleOptions":
        if len(self.listed) > self.count:
            raise ValueError(
                f"count is {self.count}, and so {len(self.listed) - self.count} of the "
                f"{len(self.listed)} prompts would not be drawn"
            )
        return self


class SamplesOptions(PromptOptions):
    """Options of a sheet of pictures for people: a row for each prompt, a column for each seed."""

    rows: Annotated[Whole, Field(ge=1, le=100)] = 8
    """Number of held-out captions, if no prompts are given."""
    columns: Annotated[Whole, Field(ge=1, le=32)] = 4
    """Number of seeds."""

    @model_validator(mode="after")
    def _rows_are_counted_once(self) -> "SamplesOptions":
        if self.prompts and "rows" in self.model_fields_set:
            raise ValueError("rows counts held-out captions, and prompts are given; leave one out")
        return self


@dataclass(frozen=True, eq=False)
class Registry:
    """The entries that a field of a Soup may name."""

    noun: str
    """The noun for an entry, in messages."""
    field: str
    """The field of a Soup's spec that names an entry."""
    built_in: Mapping[str, type[Options]]
    group: str = ""
    """The entry-point group of plugins; empty if there can be none."""

    @property
    def article(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    def known(self, plugins: Plugins) -> tuple[str, ...]:
        """Return every known name."""
        return tuple(sorted({*self.built_in, *plugins}))

    def is_known(self, named: Named | Optimizer, plugins: Plugins) -> bool:
        """Return whether the name is known."""
        return named.name in self.built_in or named.name in plugins

    def complaints(self, named: Named | Optimizer, plugins: Plugins) -> list[Complaint]:
        """Return the mistakes in a name and its options; paths begin at the `Named`."""
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
            return [_complaint_of(named, problem) for problem in error.errors(include_url=False)]
        return []

    def _unknown(self, name: str, plugins: Plugins) -> Complaint:
        known = self.known(plugins)
        message = f"there is no {self.noun} {name}; there is {', '.join(known)}"
        if near := difflib.get_close_matches(name.lower(), [each.lower() for each in known], n=1):
            meant = next(each for each in known if each.lower() == near[0])
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
    "training method",
    "training.method",
    {"FineTune": NoOptions, "LoRA": LoraOptions},
    "stockpot.training",
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
    """The plugins that are installed in an environment."""

    methods: Plugins = field(default_factory=dict)
    evaluators: Plugins = field(default_factory=dict)
    weightings: Plugins = field(default_factory=dict)


def suite_complaints(
    suite: Sequence[Named], plugins: Plugins, *, has_records: bool
) -> Iterator[Complaint]:
    """Yield the mistakes in the evaluators of a suite; paths begin at the suite.

    Args:
        suite: The evaluators.
        plugins: Evaluators of other packages.
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
    """Parse options into their model, or a class that extends it.

    The registry must have returned no complaints before.
    """
    return _validate(model, named.options)


def option_names(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of a model's options, as users write them."""
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
    close = near or [each for each in known if _initials(each) == option.lower()]
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


def _complaint_of(named: Named | Optimizer, problem: Any) -> Complaint:
    """Translate an error of pydantic about an option into a complaint."""
    context = problem.get("ctx") or {}
    if not problem["loc"]:  # About several options together.
        return Complaint(f"{named.name}'s {_reason(problem)}", ("options",))
    option = str(problem["loc"][0])
    path = ("options", option)
    text = named.options.get(option, "")
    subject = f"{named.name}'s {option}"
    if problem["type"] in _BOUNDS:
        bounds = {name: f"{bound:g}" for name, bound in context.items()}
        return Complaint(f"{subject} is {text}; {_BOUNDS[problem['type']].format(**bounds)}", path)
    if problem["type"] == "missing":
        return Complaint(
            f"{subject} is missing", ("options",), help=f"write options: {{{option}: …}}"
        )
    if problem["type"] == "value_error":
        return Complaint(f"{subject} is {text!r}, which {_reason(problem)}", path)
    message = problem["msg"]
    return Complaint(f"{subject} is {text!r}: {message[0].lower()}{message[1:]}", path)


def _reason(problem: Any) -> str:
    return str(problem["ctx"]["error"]) if "error" in (problem.get("ctx") or {}) else problem["msg"]
