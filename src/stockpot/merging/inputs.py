"""What a merge is given: checkpoints that fit each other, LoRAs among them folded into a base."""

import math
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from stockpot.errors import ExitCode, Refused
from stockpot.merging.adapters import LORA, Adapter, adapter_in
from stockpot.merging.checkpoints import Checkpoint, beside, open_checkpoint
from stockpot.merging.copies import require_equal_copies
from stockpot.merging.formats import FORMATS
from stockpot.merging.layout import require_equal_layout
from stockpot.merging.lora import (
    CONFIG,
    MERGE_ELSEWHERE,
    METADATA,
    Module,
    looks_like_lora,
    modules_of,
    read_config,
    wants_config,
)
from stockpot.merging.lora_fusion import Fold, Widened, elements_of, folded_checkpoint
from stockpot.merging.values import numbers_of
from stockpot.merging.weights import Where
from stockpot.store.ranges import ByteSource
from stockpot.store.safetensors import Tensor, read_header, refuse, tensor_bytes

LONGEST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Opened:
    """What is averaged, in the order in which it was named."""

    checkpoints: tuple[Checkpoint, ...]
    tensors: tuple[Tensor, ...]
    """As the mean has them where nobody chose a type: of the checkpoints' types, or the base's."""
    files: tuple[ByteSource, ...]
    """All that is read."""


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
        Refused: One is broken, holds an adapter that cannot be folded, does not fit the others or
            the base, or is not equal to them in a tensor that is copied; or it is a LoRA and there
            is no base (exit 46; 2).
    """
    if base is None:
        found = _sharing(_plain(name, stack) for name in names)
        tensors = found[0].tensors
        files = [file for checkpoint in found for file in checkpoint.files]
    else:
        given = open_checkpoint(base, stack)
        _require_model(given)
        foundation = Widened(given)
        alone = folded_checkpoint(os.fspath(base), foundation, (), given, fold)
        found = _sharing((_folded(name, foundation, stack, fold) for name in names), alone)
        tensors = given.tensors
        files = [file for checkpoint in (given, *found) for file in checkpoint.files]
    require_equal_copies(found)
    return Opened(found, tensors, tuple(files))


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
    _require_model(found)
    return found


def _require_model(checkpoint: Checkpoint) -> None:
    """Refuse an adapter: its tensors are factors and no weights."""
    adapter = adapter_in(key for key, _, _ in checkpoint.tensors)
    if adapter is None:
        return
    if looks_like_lora(key for key, _, _ in checkpoint.tensors):
        raise Refused(
            f"{checkpoint.name} is a LoRA, and what it changes is not named",
            help="name the model with --base (in Python: base=...); factors cannot be averaged",
            exit_code=ExitCode.USAGE,
        )
    refuse_adapter(checkpoint.name, adapter)


def _folded(name: str, base: Widened, stack: ExitStack, fold: Fold | None) -> Checkpoint:
    found = open_checkpoint(name, stack)
    adapter = adapter_in(key for key, _, _ in found.tensors)
    if adapter is None:
        # A folded model has the base's types, and each type is rounded to once, at the end.
        require_equal_layout([base.checkpoint, found])
        return folded_checkpoint(name, Widened(found), (), found, fold)
    if not looks_like_lora(key for key, _, _ in found.tensors):
        refuse_adapter(name, adapter)
    _require_factors(found)
    modules = modules_of(
        name,
        {key: shape for key, _, shape in found.tensors},
        {key: shape for key, dtype, shape in base.checkpoint.tensors if dtype in FORMATS},
        _config(name, found, stack),
    )
    return folded_checkpoint(name, base, _with_alphas(modules, found), found, fold)


def refuse_adapter(name: str, adapter: Adapter) -> NoReturn:
    """Refuse an adapter of a kind that is not folded.

    Raises:
        Refused: Always (exit 46).
    """
    kind = "a LoRA in names that are not folded" if adapter.kind == LORA else adapter.kind
    refuse(name, f"it holds {kind} ({adapter.key}), which cannot be averaged", MERGE_ELSEWHERE)


def _require_factors(lora: Checkpoint) -> None:
    for key, dtype, _ in lora.tensors:
        if dtype not in FORMATS and not key.endswith(".alpha"):
            refuse(lora.name, f"tensor {key} is {dtype}; factors are {', '.join(sorted(FORMATS))}")


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
        # Some scripts keep it as a whole number.
        if dtype in FORMATS:
            alpha = float(elements_of(source, offset, dtype, 0, 1)[0])
        else:
            alpha = float(
                numbers_of(source.read(offset, tensor_bytes(dtype, shape)), dtype)[0].real
            )
        if not math.isfinite(alpha):
            refuse(lora.name, f"tensor {module.alpha} is {alpha}")
        found.append(module.with_alpha(alpha))
    return found
