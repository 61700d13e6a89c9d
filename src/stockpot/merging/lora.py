"""LoRA files: which tensors of a base each of their modules changes, and by how much. Only names.

Taken are pairs of factors of linear and convolutional weights, as PEFT, diffusers and kohya's
scripts write them. What else a file holds is refused by name: nothing is left out. What is added
to the base is `scale * up @ down`; `folding` defines the bytes.

A module's scale is alpha / rank (alpha / sqrt(rank) where a configuration says rslora). Alpha is
the file's own tensor `MODULE.alpha`; else what the configuration says, which diffusers writes into
the file's metadata and PEFT into `adapter_config.json` beside it; else the rank, as diffusers has
it, so that the scale is 1.
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
"""Under this name diffusers keeps the configuration in a file's metadata."""

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
"""kohya's names have underscores where the model's have dots."""
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
    """What is added to one tensor of the base."""

    key: str
    """Of the tensor."""
    up: str
    """The key of the factor of shape (rows, rank)."""
    down: str
    """The key of the factor of shape (rank, columns)."""
    rank: int
    rows: int
    columns: int
    """Of the tensor, all but its first dimension taken together."""
    alpha: str | None
    """The key of the module's alpha; None: `scale` is known."""
    scale: float = 1.0

    def with_alpha(self, alpha: float) -> "Module":
        """Set the scale by the file's own alpha."""
        return replace(self, alpha=None, scale=alpha / self.rank)


@dataclass(frozen=True)
class _Configured:
    """What a configuration says of alpha."""

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
    """Whether a file holds factors, so that it is no model itself."""
    return any(_FACTOR.fullmatch(key) for key in keys)


def wants_config(keys: Iterable[str]) -> bool:
    """Whether PEFT wrote it, which keeps alpha beside the file and nowhere else."""
    return any(key.startswith(_PEFT) for key in keys)


def modules_of(
    name: str,
    shapes: Mapping[str, Shape],
    base: Mapping[str, Shape],
    config: Mapping[str, Any] | None,
) -> tuple[Module, ...]:
    """Find what each module of a LoRA changes.

    Args:
        name: What messages call the file.
        shapes: Of its tensors.
        base: The shapes of the base's tensors.
        config: What `adapter_config.json` or the file's metadata says, if there is one.

    Raises:
        Refused: It holds what is not understood, or what the base has not (exit 46). The message
            names the first five.
    """
    pairs, alphas = _sorted_out(name, shapes)
    configured = {prefix: _configured(name, one) for prefix, one in _by_prefix(config or {})}
    known = _names(base)
    found: dict[str, Module] = {}
    absent: list[str] = []
    for called, sides in sorted(pairs.items()):
        if len(sides) < 2:
            refuse(name, f"{next(iter(sides.values()))} is alone: the other factor is missing")
        keys = {known[candidate] for candidate in _candidates(called) if candidate in known}
        if len(keys) != 1 or None in keys:
            absent.append(called)
            continue
        key = str(keys.pop())
        if key in found:
            refuse(name, f"two of its modules change {key}")
        module = _fitting(name, key, base[key], sides, shapes)
        alpha = alphas.get(called)
        # "" is of the whole file; others name the part of the pipeline, as "unet.".
        said = [one for prefix, one in configured.items() if called.startswith(prefix)]
        scale = said[0].scale(_bare(called), module.rank) if said and not alpha else 1.0
        found[key] = replace(module, alpha=alpha, scale=scale)
    if absent:
        _refuse_all(name, "the base has no weight for", absent)
    if lonely := sorted(alphas.keys() - pairs.keys()):
        _refuse_all(name, "an alpha without factors:", lonely)
    return tuple(found[key] for key in sorted(found))


def _sorted_out(
    name: str, shapes: Mapping[str, Shape]
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Tell factors and alphas apart: for each module the keys of both factors, and of its alpha."""
    pairs: dict[str, dict[str, str]] = {}
    alphas: dict[str, str] = {}
    adapters: set[str | None] = set()
    unknown: list[str] = []
    for key in sorted(shapes):
        if found := _FACTOR.fullmatch(key):
            side = "down" if found["side"] in _DOWN else "up"
            adapters.add(found["adapter"])
            sides = pairs.setdefault(found["module"], {})
            if side in sides:
                refuse(name, f"{sides[side]} and {key} are both of one module")
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
        _refuse_all(name, f"it is no LoRA alone{kind and f', it has {kind}'}:", unknown)
    if len(adapters) > 1:
        refuse(name, f"it holds several adapters: {', '.join(sorted(map(str, adapters)))}")
    if not pairs:
        refuse(name, "it holds no factors of a LoRA")
    return pairs, alphas


def _fitting(
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
        # A linear layer and a convolution of one point are the same.
        and _without_ones(down[1:]) == _without_ones(shape[1:])
    )
    if not fits:
        said = f"{_said(up)} times {_said(down)}"
        refuse(name, f"{sides['up']} times its other factor is {said}; {key} is {_said(shape)}")
    return Module(key, sides["up"], sides["down"], rank, shape[0], math.prod(shape[1:]), alpha=None)


def _names(base: Mapping[str, Shape]) -> dict[str, str | None]:
    """By what names modules of the base are called; None where a name is of two."""
    found: dict[str, str | None] = {}
    for key in base:
        if not key.endswith(".weight"):
            continue
        module = key.removesuffix(".weight")
        for one in {module, *(module.removeprefix(prefix) for prefix in _DOTTED)}:
            for called in {one, one.replace(".", "_")}:
                found[called] = key if found.get(called, key) == key else None
    return found


def _candidates(called: str) -> Iterator[str]:
    """What a LoRA's name of a module may be in the base: with and without what stands before."""
    yield called
    for prefix in _FLAT:
        if called.startswith(prefix):
            yield called.removeprefix(prefix)
    bare = called.removeprefix(_PEFT)
    for prefix in _DOTTED:
        if bare.startswith(prefix):
            yield bare.removeprefix(prefix)
    if bare != called:
        yield bare


def _bare(called: str) -> str:
    return called.removeprefix(_PEFT)


def _by_prefix(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tell apart what a configuration says of one model, or of each part of a pipeline."""
    if "lora_alpha" in config or "r" in config:
        yield "", dict(config)
        return
    for part in sorted({key.partition(".")[0] + "." for key in config if "." in key}):
        yield part, {key.removeprefix(part): config[key] for key in config if key.startswith(part)}


def _configured(name: str, config: Mapping[str, Any]) -> _Configured:
    if str(config.get("peft_type") or "LORA").upper().rpartition(".")[2] != "LORA":
        refuse(name, f"its configuration says {config['peft_type']}, which is no LoRA")
    if option := next((one for one in _NOT_FOLDED if config.get(one)), None):
        refuse(name, f"its configuration says {option}, which is not folded")
    if config.get("bias") not in (None, "none"):
        refuse(name, "its configuration says that biases were trained too")
    patterns = config.get("alpha_pattern") or {}
    values = patterns.values() if isinstance(patterns, dict) else [None]
    numbers = [config.get("lora_alpha"), *values]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        refuse(name, "its configuration says no alpha that is a number")
    if strange := [key for key in patterns if not re.fullmatch(r"[\w.]+", key)]:
        refuse(name, f"its configuration says alpha by a pattern: {strange[0]!r}")
    return _Configured(
        float(config["lora_alpha"]),
        {str(key): float(alpha) for key, alpha in patterns.items()},
        bool(config.get("use_rslora")),
    )


def read_config(name: str, text: bytes | str) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        Refused: It is no JSON object (exit 46).
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(name, f"its configuration cannot be read: {error}")
    if not isinstance(found, dict):
        refuse(name, "its configuration is no JSON object")
    return found


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape)
    while kept and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def _said(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _refuse_all(name: str, why: str, names: Sequence[str]) -> None:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    refuse(name, f"{why} {', '.join(names[:SHOWN])}{more}", MERGE_ELSEWHERE)
