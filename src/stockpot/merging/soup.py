"""Average checkpoints of any origin: what `stockpot merge` does, as a function.

    from stockpot.merging import merge
    made = merge({"a.safetensors": "0.7", "b.safetensors": "0.3"}, "soup.safetensors")
    print(made.digest)

No operator, no cluster and no torch.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import bucket_store, require_local_or_s3
from stockpot.merging.cores import cores
from stockpot.merging.engine import Settings, Target, average
from stockpot.merging.formats import FORMATS
from stockpot.merging.inputs import open_inputs
from stockpot.merging.kernel import installed
from stockpot.merging.layout import output_header, runs
from stockpot.merging.targets import Uploads, file_target, object_target
from stockpot.merging.verifying import verify
from stockpot.merging.weights import Weight, Where, listed, whole

DIGEST = "{digest}"
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
    weights: tuple[tuple[str, int], ...]
    """The checkpoints with their weights, as whole numbers; those of weight 0 are left out."""


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
        output: A file, which appears whole or not at all and replaces what was there; or
            `s3://bucket/key`. `{digest}` in a file's name becomes the 64 digits of its SHA-256.
        base: What LoRAs among the checkpoints are folded into, each by itself, before they are
            averaged; named as a checkpoint is. A weight is then a LoRA's share of the mean, and
            not how strongly it is applied. See `stockpot.merging.folding` for the definition.
        out_dtype: `fp16`, `bf16` or `fp32`; None: each tensor keeps its type; the base's, if there
            is a base.
        threads: None: as many as the container may use. The bytes do not depend on it.
        verified: Read the result again, and hold a sample of it against the definition.
        progress: Told how many bytes are done, and of how many.
        stop: Ends it soon after it is set.

    Returns:
        What was made.

    Raises:
        Refused: The weights are none (exit 2); a checkpoint is broken, holds a NaN or an infinity,
            or does not fit the others or the base; or the mean is too large for the output (46).
        Transient: Something cannot be read or written (7).
        StockpotError: It was stopped (75).
    """
    pairs = listed(inputs)
    given = whole([weight for _, weight in pairs])
    wanted = _wanted(out_dtype)
    weights = [weight for weight in given if weight]
    names = [where for (where, _), weight in zip(pairs, given, strict=True) if weight]
    where = os.fspath(output)
    final = _Final(where)
    for name in (*names, where, *([] if base is None else [os.fspath(base)])):
        require_local_or_s3(name)
    with ExitStack() as stack:
        opened = open_inputs(names, base, stack)
        checkpoints = opened.checkpoints
        header = output_header(opened.tensors, FORMATS[wanted] if wanted else None)
        lying = runs(checkpoints, header)
        total = sum(run.elements * run.given.item_bytes for run in lying) * len(checkpoints)
        with final.target(header.size_bytes) as target:
            made = average(
                [one.name for one in checkpoints],
                weights,
                lying,
                header,
                target,
                Settings(threads or cores(), installed()),
                advance=lambda done: progress(done, total),
                stop=stop or threading.Event(),
            )
            final.digest = made.digest
    soup = Made(
        final.path,
        made.digest,
        header.size_bytes,
        sum(span.elements for span in header.spans),
        tuple(zip(names, weights, strict=True)),
    )
    if verified:
        verify(soup.path, soup.weights, base=base, digest=soup.digest)
    return soup


class _Final:
    """Under which name the soup appears, which may hold the digest of its bytes."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.digest: Digest | None = None
        if DIGEST in where and (where.startswith("s3://") or DIGEST not in Path(where).name):
            raise Refused(
                f"{where} cannot be named by its digest",
                help=f"{DIGEST} may stand in the name of a local file",
                exit_code=ExitCode.USAGE,
            )
        # Else it would be found out when all is done.
        if not where.startswith("s3://") and Path(where).is_dir():
            raise Refused(
                f"{where} is a folder",
                help=f"name a file in it, as {Path(where) / 'soup.safetensors'}",
                exit_code=ExitCode.USAGE,
            )

    @property
    def path(self) -> str:
        """The final name."""
        if self.digest is None:
            return self._where
        return self._where.replace(DIGEST, self.digest.rpartition(":")[2])

    def target(self, size_bytes: int) -> AbstractContextManager[Target]:
        """Open what is written to."""
        if not self._where.startswith("s3://"):
            return file_target(Path(self._where), size_bytes, lambda _: Path(self.path))
        bucket, _, key = self._where.removeprefix("s3://").partition("/")
        store = bucket_store(bucket)
        assert isinstance(store, Uploads)
        return object_target(store, key, size_bytes)


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
