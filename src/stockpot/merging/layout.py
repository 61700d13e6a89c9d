"""Whether checkpoints fit each other, and how their tensors lie: pure decisions over headers."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import Checkpoint
from stockpot.merging.formats import COPIED, FORMATS, Format
from stockpot.store.ranges import ByteSource
from stockpot.store.safetensors import Header, Tensor, canonical_header, tensor_bytes

SHOWN = 5


@dataclass(frozen=True)
class Run:
    """Tensors that lie one behind the other everywhere: averaged as if they were one.

    Most checkpoints are a single one. Tensors that are copied make runs of their own, of bytes.
    """

    tensors: tuple[Tensor, ...]
    given: Format
    output: Format
    sources: tuple[tuple[ByteSource, int], ...]
    """For each checkpoint: the file, and where in it the run begins."""
    offset: int
    """Where the run begins in the output."""

    @property
    def is_copied(self) -> bool:
        """Whether it is equal in all checkpoints, and of a type that is not averaged."""
        return self.given is COPIED

    @property
    def ends(self) -> list[int]:
        """For each tensor, the element of the run behind its last."""
        if self.is_copied:
            return list(accumulate(tensor_bytes(dtype, shape) for _, dtype, shape in self.tensors))
        return list(accumulate(prod(shape) for _, _, shape in self.tensors))

    @property
    def elements(self) -> int:
        """How many numbers it has; of a copied one, how many bytes."""
        return self.ends[-1]

    def place_of(self, element: int) -> tuple[str, list[int]]:
        """Say which tensor an element of the run belongs to, and its index there."""
        ends = self.ends
        at = bisect_right(ends, element)
        key, _, shape = self.tensors[at]
        left = element - (ends[at - 1] if at else 0)
        index = []
        for size in reversed(shape):
            left, here = divmod(left, size)
            index.append(here)
        return key, index[::-1]


def output_header(tensors: Sequence[Tensor], output: Format | None) -> Header:
    """Lay out the canonical file of the mean.

    Args:
        tensors: Of any of the checkpoints.
        output: What is rounded to; None: each tensor to its own type. Tensors that are copied keep
            theirs.
    """
    return canonical_header(
        (key, output.name if output and dtype in FORMATS else dtype, shape)
        for key, dtype, shape in tensors
    )


def runs(checkpoints: Sequence[Checkpoint], target: Header) -> list[Run]:
    """Find how tensors lie together in all checkpoints and in the output.

    Args:
        checkpoints: At least one, all of one layout.
        target: Of the output.
    """
    found: list[Run] = []
    group: list[Tensor] = []
    first_at: list[tuple[ByteSource, int]] = []
    next_at: list[tuple[ByteSource, int]] = []
    offset = 0
    tensors = checkpoints[0].tensors
    dtypes = ("", "")

    def close() -> None:
        if group:
            given, output = (FORMATS.get(dtype, COPIED) for dtype in dtypes)
            found.append(Run(tuple(group), given, output, tuple(first_at), offset))

    for number, (tensor, span) in enumerate(zip(tensors, target.spans, strict=True)):
        if not span.elements:
            continue  # No bytes: nothing to average.
        here = [checkpoint.places[number] for checkpoint in checkpoints]
        if (tensor[1], span.dtype) != dtypes or here != next_at:
            close()
            group, first_at, offset = [], here, span.offset
            dtypes = (tensor[1], span.dtype)
        group.append(tensor)
        size_bytes = tensor_bytes(tensor[1], tensor[2])
        next_at = [(source, begin + size_bytes) for source, begin in here]
    close()
    return found


def require_equal_layout(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse checkpoints that cannot be averaged: by name, with the first differences.

    Raises:
        Refused: Keys, shapes or types differ (exit 46).
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if found := differences(first.tensors, other.tensors):
            shown = "; ".join(found[:SHOWN])
            more = len(found) - SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise Refused(
                f"{other.name} is refused: it does not fit {first.name}: {shown}{rest}",
                help="average checkpoints of one model, all of one type",
                exit_code=ExitCode.BAD_WEIGHTS,
            )


def differences(first: Sequence[Tensor], other: Sequence[Tensor]) -> list[str]:
    """Say how the tensors of two checkpoints differ, numbers aside; in order of key."""
    if tuple(first) == tuple(other):
        return []
    ours = {key: (dtype, shape) for key, dtype, shape in first}
    theirs = {key: (dtype, shape) for key, dtype, shape in other}
    found = []
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in theirs:
            found.append(f"{key} is missing")
        elif key not in ours:
            found.append(f"{key} is not in the other")
        elif ours[key] != theirs[key]:
            found.append(f"{key} is {_said(theirs[key])}, not {_said(ours[key])}")
    return found


def _said(tensor: tuple[str, tuple[int, ...]]) -> str:
    dtype, shape = tensor
    return f"{dtype} {list(shape)}"
