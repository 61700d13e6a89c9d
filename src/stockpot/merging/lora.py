"""Finds which tensors of a base a LoRA file changes, by the names and shapes of its tensors.

It accepts pairs of factors of linear and convolutional weights, as PEFT, diffusers and kohya's
scripts write them. A file that holds any other tensor is refused: nothing is silently left out.
`scale * up @ down` is added to the base; `lora_fusion` defines the bytes.

A module's scale is alpha / rank (alpha / sqrt(rank) if the configuration sets rslora). Alpha is the
file's own tensor `MODULE.alpha`; else the value of the configuration, which diffusers writes into
the file's metadata and PEFT into `adapter_config.json` beside it; else the rank, as in diffusers,
so that the scale is 1.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stockpot.merging.adapters import LORA, adapter_in
from stockpot.store.safetensors import Shape, refuse

CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"
"""The name of the configuration in the metadata of diffusers' files."""

_FACTOR = re.compile(
    r"(?P<module>.+)\.(?P<side>lora_A|lora_B|lora_down|lora_up"
    r"|(?:lora|lora_linear_layer)\.(?:down|up))(?:\.(?P<adapter>[^.]+))?\.weight"
)
_DOWN = ("lora_A", "lora_down", "lora.down", "lora_linear_layer.down")
_PEFT = "base_model.model."
_DOTTED = (
    *(_PEFT, "model.diffusion_model.", "diffusion_model.", "unet.", "transformer."),
    *("text_encoder.", "text_encoder_2.", "text_encoder_3."),
)
_FLAT = ("lora_unet_", "lora_transformer_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_")
"""Prefixes of kohya's names, which have underscores where the model's names have dots."""
_OTHERS = {
    "lora_magnitude_vector": "DoRA", "dora_scale": "DoRA", "lora_mid": "a third factor",
    "hada_": "LoHa", "lokr_": "LoKr", "oft_": "OFT", "boft_": "OFT", "ia3_": "IA3",
    "lora_embedding_": "a LoRA of an embedding", ".diff$": "a whole difference",
    ".bias$": "a bias", ".processor.": "the names of diffusers' older attention",
}  # fmt: skip
_NOT_FOLDED = ("use_dora", "fan_in_fan_out", "lora_bias", "use_qalora")
SHOWN = 5
MERGE_ELSEWHERE = (
    "fold it into its model with the tool that made it, save the model, and average the models"
)


@dataclass(frozen=True)
class Module:
    """The factors that are added to one tensor of the base."""

    key: str
    """The key of the base's tensor."""
    up: str
    """The key of the factor of shape (rows, rank)."""
    down: str
    """The key of the factor of shape (rank, columns)."""
    rank: int
    rows: int
    columns: int
    """The product of the tensor's dimensions but the first."""
    alpha: str | None
    """The key of the module's alpha; None if `scale` is known."""
    scale: float = 1.0

    def with_alpha(self, alpha: float) -> "Module":
        """Set the scale by the file's own alpha."""
        return replace(self, alpha=None, scale=alpha / self.rank)


@dataclass(frozen=True)
class _AlphaConfig:
    """The alphas of a configuration."""

    alpha: float
    patterns: Mapping[str, float]
    of_root: bool

    def scale(self, module: str, rank: int) -> float:
        by_name = [
            alpha
            for name, alpha in self.patterns.items()
            if module == name or module.endswith("." + name)
        ]
        return (by_name or [self.alpha])[0] / (math.sqrt(rank) if self.of_root else rank)


def looks_like_lora(keys: Iterable[str]) -> bool:
    """Whether a file holds LoRA factors, and so is no model."""
    return any(_FACTOR.fullmatch(key) for key in keys)


def wants_config(keys: Iterable[str]) -> bool:
    """Whether PEFT wrote the file: then only the configuration beside it holds alpha."""
    return any(key.startswith(_PEFT) for key in keys)


def modules_of(
    name: str,
    shapes: Mapping[str, Shape],
    base: Mapping[str, Shape],
    config: Mapping[str, Any] | None,
) -> tuple[Module, ...]:
    """Find the tensor that each module of a LoRA changes.

    Args:
        name: What messages call the file.
        shapes: The shapes of its tensors.
        base: The shapes of the base's tensors.
        config: The content of `adapter_config.json` or of the file's metadata, if any.

    Raises:
        Refused: It holds tensors that are not supported, or that do not fit the base (exit 46).
            The message names the first five.
    """
    pairs, alphas = _factors_and_alphas(name, shapes)
    configured = {
        prefix: _alpha_config(name, options) for prefix, options in _by_prefix(config or {})
    }
    known = _names(base)
    modules: dict[str, Module] = {}
    absent: list[str] = []
    for module_name, sides in sorted(pairs.items()):
        if len(sides) < 2:
            refuse(name, f"{next(iter(sides.values()))} is alone: the other factor is missing")
        keys = {known[candidate] for candidate in _candidates(module_name) if candidate in known}
        if len(keys) != 1 or None in keys:
            absent.append(module_name)
            continue
        key = str(keys.pop())
        if key in modules:
            refuse(name, f"two of its modules change {key}")
        module = _checked_module(name, key, base[key], sides, shapes)
        alpha = alphas.get(module_name)
        # The prefix "" stands for the whole file; others name a part of the pipeline, as "unet.".
        matching = [
            options for prefix, options in configured.items() if module_name.startswith(prefix)
        ]
        scale = 1.0
        if matching and not alpha:
            scale = matching[0].scale(_bare(module_name), module.rank)
        modules[key] = replace(module, alpha=alpha, scale=scale)
    if absent:
        _refuse_all(name, "the base has no weight for", absent)
    if lonely := sorted(alphas.keys() - pairs.keys()):
        _refuse_all(name, "an alpha without factors:", lonely)
    return tuple(modules[key] for key in sorted(modules))


def _factors_and_alphas(
    name: str, shapes: Mapping[str, Shape]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return for each module the keys of both factors, and the key of its alpha."""
    pairs: dict[str, dict[str, str]] = {}
    alphas: dict[str, str] = {}
    adapters: set[str | None] = set()
    unknown: list[str] = []
    for key in sorted(shapes):
        if factor := _FACTOR.fullmatch(key):
            side = "down" if factor["side"] in _DOWN else "up"
            adapters.add(factor["adapter"])
            sides = pairs.setdefault(factor["module"], {})
            if side in sides:
                refuse(name, f"{sides[side]} and {key} belong to the same module")
            sides[side] = key
        elif key.endswith(".alpha"):
            alphas[key.removesuffix(".alpha")] = key
        else:
            unknown.append(key)
    if unknown:
        kind = next((_OTHERS[part] for part in _OTHERS if part in f"{unknown[0]}$"), "")
        adapter = adapter_in(unknown)
        if not kind and adapter is not None and adapter.kind != LORA:
            kind = adapter.kind
        _refuse_all(name, f"it is not only a LoRA{kind and f', it has {kind}'}:", unknown)
    if len(adapters) > 1:
        refuse(name, f"it holds several adapters: {', '.join(sorted(map(str, adapters)))}")
    if not pairs:
        refuse(name, "it holds no factors of a LoRA")
    return pairs, alphas


def _checked_module(
    name: str, key: str, shape: Shape, sides: Mapping[str, str], shapes: Mapping[str, Shape]
) -> Module:
    up, down = shapes[sides["up"]], shapes[sides["down"]]
    rank = down[0] if down else 0
    fits = (
        len(shape) >= 2
        and len(up) >= 2
        and len(down) >= 2
        and rank > 0
        and up[:2] == (shape[0], rank)
        and math.prod(up[2:]) == 1
        # A linear layer and a 1x1 convolution are equivalent.
        and _without_ones(down[1:]) == _without_ones(shape[1:])
    )
    if not fits:
        product = f"{_shape_text(up)} times {_shape_text(down)}"
        refuse(
            name,
            f"{sides['up']} times its other factor is {product}; {key} is {_shape_text(shape)}",
        )
    return Module(key, sides["up"], sides["down"], rank, shape[0], math.prod(shape[1:]), alpha=None)


def _names(base: Mapping[str, Shape]) -> dict[str, str | None]:
    """Map the names of the base's modules to keys; None marks a name of two modules."""
    keys: dict[str, str | None] = {}
    for key in base:
        if not key.endswith(".weight"):
            continue
        module = key.removesuffix(".weight")
        for dotted in {module, *(module.removeprefix(prefix) for prefix in _DOTTED)}:
            for name in {dotted, dotted.replace(".", "_")}:
                keys[name] = key if keys.get(name, key) == key else None
    return keys


def _candidates(module: str) -> Iterator[str]:
    """List the names that a LoRA's module may have in the base: with and without known prefixes."""
    yield module
    for prefix in _FLAT:
        if module.startswith(prefix):
            yield module.removeprefix(prefix)
    bare = _bare(module)
    for prefix in _DOTTED:
        if bare.startswith(prefix):
            yield bare.removeprefix(prefix)
    if bare != module:
        yield bare


def _bare(module: str) -> str:
    return module.removeprefix(_PEFT)


def _by_prefix(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Split a configuration by the parts of a pipeline; one of a single model has the prefix ""."""
    if "lora_alpha" in config or "r" in config:
        yield "", dict(config)
        return
    for part in sorted({key.partition(".")[0] + "." for key in config if "." in key}):
        yield part, {key.removeprefix(part): config[key] for key in config if key.startswith(part)}


def _alpha_config(name: str, config: Mapping[str, Any]) -> _AlphaConfig:
    if str(config.get("peft_type") or "LORA").upper().rpartition(".")[2] != "LORA":
        refuse(name, f"its configuration says {config['peft_type']}, which is not a LoRA")
    if option := next((option for option in _NOT_FOLDED if config.get(option)), None):
        refuse(name, f"its configuration sets {option}, which cannot be folded")
    if config.get("bias") not in (None, "none"):
        refuse(name, "its configuration says that biases were trained too")
    patterns = config.get("alpha_pattern") or {}
    values = patterns.values() if isinstance(patterns, dict) else [None]
    numbers = [config.get("lora_alpha"), *values]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        refuse(name, "its configuration has no alpha that is a number")
    if not_plain := [key for key in patterns if not re.fullmatch(r"[\w.]+", key)]:
        refuse(name, f"its configuration sets alpha by a pattern: {not_plain[0]!r}")
    return _AlphaConfig(
        float(config["lora_alpha"]),
        {str(key): float(alpha) for key, alpha in patterns.items()},
        bool(config.get("use_rslora")),
    )


def read_config(name: str, text: bytes | str) -> dict[str, Any]:
    """Parse a configuration.

    Raises:
        Refused: It is no JSON object (exit 46).
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(name, f"its configuration cannot be read: {error}")
    if not isinstance(config, dict):
        refuse(name, "its configuration is not a JSON object")
    return config


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape)
    while kept and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def _shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _refuse_all(name: str, why: str, names: Sequence[str]) -> None:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    refuse(name, f"{why} {', '.join(names[:SHOWN])}{more}", MERGE_ELSEWHERE)
