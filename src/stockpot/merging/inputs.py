"""Opens the inputs of `stockpot merge`: checkpoints that fit each other, and LoRAs of a base."""

import math
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from stockpot.errors import ExitCode, Refused
from stockpot.merging.adapters import LORA, Adapter, adapter_in
from stockpot.merging.checkpoints import OpenCheckpoint, open_checkpoint, open_sibling
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
from stockpot.merging.lora_fusion import Fold, WideWeights, elements_of, folded_checkpoint
from stockpot.merging.values import numbers_of
from stockpot.merging.weights import PathOrUrl
from stockpot.store.ranges import ByteSource
from stockpot.store.safetensors import Tensor, read_header, refuse, tensor_bytes

LONGEST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class OpenInputs:
    """The checkpoints that are averaged, in the order in which they were named."""

    checkpoints: tuple[OpenCheckpoint, ...]
    tensors: tuple[Tensor, ...]
    """The tensors of the mean if no type is chosen: with the checkpoints' types, or the base's."""
    files: tuple[ByteSource, ...]
    """All files that are read."""


def open_inputs(
    names: Iterable[str], base: PathOrUrl | None, stack: ExitStack, fold: Fold | None = None
) -> OpenInputs:
    """Open checkpoints that fit each other; they share the tuple of their tensors.

    Args:
        names: Their paths or S3 addresses.
        base: The checkpoint that LoRAs are folded into; every checkpoint then has fp32 elements.
            None if there is no LoRA among the names.
        stack: Closes the files.
        fold: Folds a block; does not change the bytes. None chooses the fastest that is available.

    Raises:
        Refused: An input is broken, holds an adapter that cannot be folded, does not fit the
            others or the base, or differs from them in a tensor that is copied (exit 46); or it is
            a LoRA and there is no base (2).
    """
    if base is None:
        checkpoints = _sharing(_plain(name, stack) for name in names)
        tensors = checkpoints[0].tensors
        files = [file for checkpoint in checkpoints for file in checkpoint.files]
    else:
        given = open_checkpoint(base, stack)
        _require_model(given)
        foundation = WideWeights(given)
        alone = folded_checkpoint(os.fspath(base), foundation, (), given, fold)
        checkpoints = _sharing((_folded(name, foundation, stack, fold) for name in names), alone)
        tensors = given.tensors
        files = [file for checkpoint in (given, *checkpoints) for file in checkpoint.files]
    require_equal_copies(checkpoints)
    return OpenInputs(checkpoints, tensors, tuple(files))


def _sharing(
    opened: Iterable[OpenCheckpoint], first: OpenCheckpoint | None = None
) -> tuple[OpenCheckpoint, ...]:
    """Require one layout, and let all checkpoints share the first one's tuple of tensors."""
    sharing: list[OpenCheckpoint] = []
    for checkpoint in opened:
        if first is None:
            first = checkpoint
        require_equal_layout([first, checkpoint])
        sharing.append(replace(checkpoint, tensors=first.tensors))
    return tuple(sharing)


def _plain(name: str, stack: ExitStack) -> OpenCheckpoint:
    checkpoint = open_checkpoint(name, stack)
    _require_model(checkpoint)
    return checkpoint


def _require_model(checkpoint: OpenCheckpoint) -> None:
    """Refuse an adapter: its tensors are no weights of a model."""
    adapter = adapter_in(key for key, _, _ in checkpoint.tensors)
    if adapter is None:
        return
    if looks_like_lora(key for key, _, _ in checkpoint.tensors):
        raise Refused(
            f"{checkpoint.name} is a LoRA, and no base is named",
            help="name its base model with --base (in Python: base=...); LoRA factors cannot be "
            "averaged",
            exit_code=ExitCode.USAGE,
        )
    refuse_adapter(checkpoint.name, adapter)


def _folded(name: str, base: WideWeights, stack: ExitStack, fold: Fold | None) -> OpenCheckpoint:
    checkpoint = open_checkpoint(name, stack)
    adapter = adapter_in(key for key, _, _ in checkpoint.tensors)
    if adapter is None:
        # A whole model among LoRAs: it is widened like the base, and rounded once at the end.
        require_equal_layout([base.checkpoint, checkpoint])
        return folded_checkpoint(name, WideWeights(checkpoint), (), checkpoint, fold)
    if not looks_like_lora(key for key, _, _ in checkpoint.tensors):
        refuse_adapter(name, adapter)
    _require_factors(checkpoint)
    modules = modules_of(
        name,
        {key: shape for key, _, shape in checkpoint.tensors},
        {key: shape for key, dtype, shape in base.checkpoint.tensors if dtype in FORMATS},
        _config(name, checkpoint, stack),
    )
    return folded_checkpoint(name, base, _with_alphas(modules, checkpoint), checkpoint, fold)


def refuse_adapter(name: str, adapter: Adapter) -> NoReturn:
    """Refuse an adapter of a kind that is not folded.

    Raises:
        Refused: Always (exit 46).
    """
    kind = "a LoRA with unknown tensor names" if adapter.kind == LORA else adapter.kind
    refuse(name, f"it holds {kind} ({adapter.key}), which cannot be averaged", MERGE_ELSEWHERE)


def _require_factors(lora: OpenCheckpoint) -> None:
    for key, dtype, _ in lora.tensors:
        if dtype not in FORMATS and not key.endswith(".alpha"):
            refuse(lora.name, f"tensor {key} is {dtype}; factors are {', '.join(sorted(FORMATS))}")


def _config(name: str, lora: OpenCheckpoint, stack: ExitStack) -> dict[str, Any] | None:
    for source in lora.sources:
        if (text := read_header(source).metadata.get(METADATA)) is not None:
            return read_config(name, text)
    if not wants_config(key for key, _, _ in lora.tensors):
        return None
    source_of_it = open_sibling(name, CONFIG, stack)
    if source_of_it is None:
        refuse(name, f"PEFT wrote it, and {CONFIG}, which holds its alpha, is not beside it")
    if source_of_it.size_bytes > LONGEST_CONFIG_BYTES:
        refuse(
            source_of_it.name, f"a configuration of {source_of_it.size_bytes} bytes is too large"
        )
    return read_config(name, source_of_it.read(0, source_of_it.size_bytes))


def _with_alphas(modules: Sequence[Module], lora: OpenCheckpoint) -> list[Module]:
    """Read the alphas that the file itself holds."""
    at = {tensor[0]: i for i, tensor in enumerate(lora.tensors)}
    scaled = []
    for module in modules:
        if module.alpha is None:
            scaled.append(module)
            continue
        number = at[module.alpha]
        _, dtype, shape = lora.tensors[number]
        if any(size != 1 for size in shape):
            refuse(lora.name, f"tensor {module.alpha} is not a single number")
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
        scaled.append(module.with_alpha(alpha))
    return scaled
