"""`merge`, the function behind `stockpot merge`: averages checkpoints of any origin.

    from stockpot.merging import merge
    result = merge({"a.safetensors": "0.7", "b.safetensors": "0.3"}, "soup.safetensors")
    print(result.digest)

No operator, no cluster and no torch.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import help_for_own_files, require_local_or_s3
from stockpot.merging.destination import Destination
from stockpot.merging.engine import average
from stockpot.merging.formats import FORMATS
from stockpot.merging.inputs import open_inputs
from stockpot.merging.interfaces import MergeSettings
from stockpot.merging.kernel import installed
from stockpot.merging.layout import find_runs, output_header
from stockpot.merging.verify import verify
from stockpot.merging.weights import PathOrUrl, Weight, parse_inputs, whole_weights
from stockpot.process.cpu_limit import cores

DTYPES = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}

Inputs = Mapping[PathOrUrl, Weight] | Iterable[PathOrUrl | tuple[PathOrUrl, Weight]]


@dataclass(frozen=True)
class MergedFile:
    """The soup that a merge wrote."""

    path: str
    digest: Digest
    """The SHA-256 of the soup."""
    size_bytes: int
    parameters: int
    """The number of elements that were averaged."""
    weights: tuple[tuple[str, int], ...]
    """The checkpoints with their weights as whole numbers; those of weight 0 are left out."""
    copied: tuple[str, ...] = ()
    """The tensors that were copied: their types are not averaged, and all checkpoints agree."""


def merge(
    inputs: Inputs,
    output: PathOrUrl,
    *,
    base: PathOrUrl | None = None,
    out_dtype: str | None = None,
    threads: int | None = None,
    verified: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> MergedFile:
    """Write the exact weighted mean of checkpoints: each element's rational mean, rounded once.

    Args:
        inputs: Checkpoints with their weights: a safetensors file, an index of several, a folder
            with one of these, each also as `s3://bucket/key`. A weight is a whole number, a
            Fraction or text (`"0.3"`, `"1/3"`); the default is 1.
        output: A file, which appears whole or not at all, and replaces nothing but a regular file
            (see `stockpot.store.outputs`); `s3://bucket/key`; or `-` for standard output.
            `{digest}` in a file's name becomes the 64 digits of its SHA-256.
        base: The checkpoint that each LoRA among the inputs is folded into before it is averaged;
            named as an input is. A weight is then a LoRA's share of the mean, and not how strongly
            it is applied. See `stockpot.merging.lora_fusion` for the definition.
        out_dtype: `fp16`, `bf16` or `fp32`. None keeps the type of each tensor (of the base's
            tensor, if there is a base).
        threads: None uses as many as the container may use. The bytes do not depend on it.
        verified: Read the result again and check a sample of it against the definition.
        progress: Called with the number of bytes that are done, and of all bytes.
        stop: Ends the merge soon after it is set.

    Returns:
        What was written.

    Raises:
        Refused: A weight is invalid, or the output may not be written (exit 2); a checkpoint is
            broken, holds a NaN or an infinity, or does not fit the others or the base; or the mean
            is too large for the output (46).
        Transient: A file or object cannot be read or written (7).
        StockpotError: The merge was stopped (75).
    """
    pairs = parse_inputs(inputs)
    given = whole_weights([weight for _, weight in pairs])
    wanted = _wanted(out_dtype)
    weights = [weight for weight in given if weight]
    names = [where for (where, _), weight in zip(pairs, given, strict=True) if weight]
    where = os.fspath(output)
    for name in (*names, where, *([] if base is None else [os.fspath(base)])):
        require_local_or_s3(name)
    final = Destination(where)
    if verified and final.is_stream:
        raise Refused(
            "a soup on standard output cannot be verified: it cannot be read again",
            help="name a file, or leave the verification out",
            exit_code=ExitCode.USAGE,
        )
    with help_for_own_files(), ExitStack() as stack:
        opened = open_inputs(names, base, stack)
        final.require_no_input(opened.files)
        checkpoints = opened.checkpoints
        header = output_header(opened.tensors, FORMATS[wanted] if wanted else None)
        runs = find_runs(checkpoints, header)
        total = sum(run.elements * run.given.item_bytes for run in runs) * len(checkpoints)
        with final.target(header.size_bytes) as target:
            made = average(
                [checkpoint.name for checkpoint in checkpoints],
                weights,
                runs,
                header,
                target,
                MergeSettings(threads or cores(), installed()),
                advance=lambda done: progress(done, total),
                stop=stop or threading.Event(),
            )
            final.digest = made.digest
    soup = MergedFile(
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
            f"{out_dtype!r} is not a type that soups are rounded to",
            help=f"choose one of {', '.join(DTYPES)}",
            exit_code=ExitCode.USAGE,
        )
    return DTYPES[out_dtype]
