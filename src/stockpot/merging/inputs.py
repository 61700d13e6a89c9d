"""What a merge is given: checkpoints that fit each other, LoRAs among them folded into a base."""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import Checkpoint, beside, open_checkpoint
from stockpot.merging.folding import Fold, Widened, elements_of, folded_checkpoint
from stockpot.merging.layout import require_equal_layout
from stockpot.merging.lora import (
    CONFIG,
    METADATA,
    Module,
    looks_like_lora,
    modules_of,
    read_config,
    wants_config,
)
from stockpot.merging.weights import Where
from stockpot.store.safetensors import Tensor, read_header, refuse

LONGEST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Opened:
    """What is averaged, in the order in which it was named."""

    checkpoints: tuple[Checkpoint, ...]
    tensors: tuple[Tensor, ...]
    """As the mean has them where nobody chose a type: of the checkpoints' types, or the base's."""


def open_inputs(
    names: Iterable[str], base: Where | None, stack: ExitStack, fold: Fold | None = None
) -> Opened:
    """Open checkpoints that fit each other; what their headers share is kept once.

    Args:
        names: What a person calls them.
        base: What LoRAs are folded into; then every checkpoint is one of fp32. None: there is no
            LoRA among them.
        stack: Closes the files.
        fold: How; of no consequence to the bytes. None: the fastest way that is at hand.

    Raises:
        Refused: One is broken, does not fit the others or the base, or is a LoRA and there is no
            base (exit 46; 2).
    """
    if base is None:
        plain = _sharing(_plain(name, stack) for name in names)
        return Opened(plain, plain[0].tensors)
    foundation = Widened(open_checkpoint(base, stack))
    alone = folded_checkpoint(os.fspath(base), foundation, (), foundation.checkpoint, fold)
    folded = _sharing((_folded(name, foundation, stack, fold) for name in names), alone)
    return Opened(folded, foundation.checkpoint.tensors)


def _sharing(
    opened: Iterable[Checkpoint], first: Checkpoint | None = None
) -> tuple[Checkpoint, ...]:
    found: list[Checkpoint] = []
    for one in opened:
        if first is None:
            first = one
        require_equal_layout([first, one])
        found.append(replace(one, tensors=first.tensors))
    return tuple(found)


def _plain(name: str, stack: ExitStack) -> Checkpoint:
    found = open_checkpoint(name, stack)
    if looks_like_lora(key for key, _, _ in found.tensors):
        raise Refused(
            f"{name} is a LoRA, and what it changes is not named",
            help="name the model with --base (in Python: base=...); factors cannot be averaged",
            exit_code=ExitCode.USAGE,
        )
    return found


def _folded(name: str, base: Widened, stack: ExitStack, fold: Fold | None) -> Checkpoint:
    found = open_checkpoint(name, stack)
    if not looks_like_lora(key for key, _, _ in found.tensors):
        return folded_checkpoint(name, Widened(found), (), found, fold)
    modules = modules_of(
        name,
        {key: shape for key, _, shape in found.tensors},
        {key: shape for key, _, shape in base.checkpoint.tensors},
        _config(name, found, stack),
    )
    return folded_checkpoint(name, base, _with_alphas(modules, found), found, fold)


def _config(name: str, lora: Checkpoint, stack: ExitStack) -> dict[str, Any] | None:
    for source in lora.sources:
        if (text := read_header(source).metadata.get(METADATA)) is not None:
            return read_config(name, text)
    if not wants_config(key for key, _, _ in lora.tensors):
        return None
    source_of_it = beside(name, CONFIG, stack)
    if source_of_it is None:
        refuse(name, f"PEFT wrote it, and its alpha is in {CONFIG}, which is not beside it")
    if source_of_it.size_bytes > LONGEST_CONFIG_BYTES:
        refuse(source_of_it.name, f"a configuration of {source_of_it.size_bytes} bytes is not read")
    return read_config(name, source_of_it.read(0, source_of_it.size_bytes))


def _with_alphas(modules: Sequence[Module], lora: Checkpoint) -> list[Module]:
    """Read the alphas that a file holds itself."""
    at = {tensor[0]: i for i, tensor in enumerate(lora.tensors)}
    found = []
    for module in modules:
        if module.alpha is None:
            found.append(module)
            continue
        number = at[module.alpha]
        _, dtype, shape = lora.tensors[number]
        if any(size != 1 for size in shape):
            refuse(lora.name, f"tensor {module.alpha} is no single number")
        source, offset = lora.places[number]
        alpha = float(elements_of(source, offset, dtype, 0, 1)[0])
        found.append(module.with_alpha(alpha))
    return found
