"""Average checkpoints of any origin: what `stockpot merge` does, as a function.

    from stockpot.merging import merge
    made = merge({"a.safetensors": "0.7", "b.safetensors": "0.3"}, "soup.safetensors")
    print(made.digest)

No operator, no cluster and no torch.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import own_files, require_local_or_s3
from stockpot.merging.destination import Destination
from stockpot.merging.engine import MergeSettings, average
from stockpot.merging.formats import FORMATS
from stockpot.merging.inputs import open_inputs
from stockpot.merging.kernel import installed
from stockpot.merging.layout import output_header, runs
from stockpot.merging.verify import verify
from stockpot.merging.weights import Weight, Where, listed, whole
from stockpot.process.cpu_limit import cores

DTYPES = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}

Inputs = Mapping[Where, Weight] | Iterable[Where | tuple[Where, Weight]]


@dataclass(frozen=True)
class Made:
    """A soup that was made."""

    path: str
    digest: Digest
    """Its SHA-256."""
    size_bytes: int
    parameters: int
    """How many numbers were averaged."""
    weights: tuple[tuple[str, int], ...]
    """The checkpoints with their weights, as whole numbers; those of weight 0 are left out."""
    copied: tuple[str, ...] = ()
    """Tensors of types that are not averaged: equal in all checkpoints, and copied."""


def merge(
    inputs: Inputs,
    output: Where,
    *,
    base: Where | None = None,
    out_dtype: str | None = None,
    threads: int | None = None,
    verified: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> Made:
    """Write the exact weighted mean of checkpoints: of each element the rational, rounded once.

    Args:
        inputs: Checkpoints with their weights: a safetensors file, an index of several, a folder
            with one of these, each also as `s3://bucket/key`. A weight is a whole number, a
            Fraction or text (`"0.3"`, `"1/3"`); without one it is 1.
        output: A file, which appears whole or not at all, and replaces nothing but a regular file
            (see `stockpot.store.outputs`); `s3://bucket/key`; or `-` for standard output.
            `{digest}` in a file's name becomes the 64 digits of its SHA-256.
        base: What LoRAs among the checkpoints are folded into, each by itself, before they are
            averaged; named as a checkpoint is. A weight is then a LoRA's share of the mean, and
            not how strongly it is applied. See `stockpot.merging.lora_fusion` for the definition.
        out_dtype: `fp16`, `bf16` or `fp32`; None: each tensor keeps its type; the base's, if there
            is a base.
        threads: None: as many as the container may use. The bytes do not depend on it.
        verified: Read the result again, and hold a sample of it against the definition.
        progress: Told how many bytes are done, and of how many.
        stop: Ends it soon after it is set.

    Returns:
        What was made.

    Raises:
        Refused: The weights are none, or nothing may be written there (exit 2); a checkpoint is
            broken, holds a NaN or an infinity, or does not fit the others or the base; or the mean
            is too large for the output (46).
        Transient: Something cannot be read or written (7).
        StockpotError: It was stopped (75).
    """
    pairs = listed(inputs)
    given = whole([weight for _, weight in pairs])
    wanted = _wanted(out_dtype)
    weights = [weight for weight in given if weight]
    names = [where for (where, _), weight in zip(pairs, given, strict=True) if weight]
    where = os.fspath(output)
    for name in (*names, where, *([] if base is None else [os.fspath(base)])):
        require_local_or_s3(name)
    final = Destination(where)
    if verified and final.is_stream:
        raise Refused(
            "what goes to standard output cannot be read again to be verified",
            help="name a file, or leave the verification out",
            exit_code=ExitCode.USAGE,
        )
    with own_files(), ExitStack() as stack:
        opened = open_inputs(names, base, stack)
        final.require_no_input(opened.files)
        checkpoints = opened.checkpoints
        header = output_header(opened.tensors, FORMATS[wanted] if wanted else None)
        lying = runs(checkpoints, header)
        total = sum(run.elements * run.given.item_bytes for run in lying) * len(checkpoints)
        with final.target(header.size_bytes) as target:
            made = average(
                [checkpoint.name for checkpoint in checkpoints],
                weights,
                lying,
                header,
                target,
                MergeSettings(threads or cores(), installed()),
                advance=lambda done: progress(done, total),
                stop=stop or threading.Event(),
            )
            final.digest = made.digest
    soup = Made(
        final.path,
        made.digest,
        header.size_bytes,
        sum(span.elements for span in header.spans if span.dtype in FORMATS),
        tuple(zip(names, weights, strict=True)),
        tuple(key for key, dtype, _ in opened.tensors if dtype not in FORMATS),
    )
    if verified:
        verify(soup.path, soup.weights, base=base, digest=soup.digest)
    return soup


def _wanted(out_dtype: str | None) -> str | None:
    if out_dtype is None:
        return None
    if out_dtype not in DTYPES:
        raise Refused(
            f"{out_dtype!r} is no type to round to",
            help=f"it is one of {', '.join(DTYPES)}",
            exit_code=ExitCode.USAGE,
        )
    return DTYPES[out_dtype]
