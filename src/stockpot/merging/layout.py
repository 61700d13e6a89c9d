"""Decides from headers whether checkpoints fit each other, and how their tensors lie together."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import OpenCheckpoint
from stockpot.merging.formats import COPIED, FORMATS, Format
from stockpot.store.ranges import ByteSource
from stockpot.store.safetensors import Header, Tensor, canonical_header, tensor_bytes

SHOWN = 5


@dataclass(frozen=True)
class TensorRun:
    """Tensors that lie one behind the other in every file, and are averaged like one tensor.

    Most checkpoints form a single run. Tensors that are copied form runs of bytes.
    """

    tensors: tuple[Tensor, ...]
    given: Format
    output: Format
    sources: tuple[tuple[ByteSource, int], ...]
    """For each checkpoint: the file, and the byte offset of the run in it."""
    offset: int
    """The byte offset of the run in the output."""

    @property
    def is_copied(self) -> bool:
        """Whether its tensors are copied, for their types are not averaged."""
        return self.given is COPIED

    @property
    def ends(self) -> list[int]:
        """The end of each tensor, in elements from the beginning of the run."""
        if self.is_copied:
            return list(accumulate(tensor_bytes(dtype, shape) for _, dtype, shape in self.tensors))
        return list(accumulate(prod(shape) for _, _, shape in self.tensors))

    @property
    def elements(self) -> int:
        """The number of elements; the number of bytes if the run is copied."""
        return self.ends[-1]

    def place_of(self, element: int) -> tuple[str, list[int]]:
        """Return the key of the tensor that holds an element of the run, and its index there."""
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
        tensors: The tensors of any of the checkpoints.
        output: The format to round to. None rounds each tensor to its own type. Tensors that are
            copied keep their types.
    """
    return canonical_header(
        (key, output.name if output and dtype in FORMATS else dtype, shape)
        for key, dtype, shape in tensors
    )


def find_runs(checkpoints: Sequence[OpenCheckpoint], target: Header) -> list[TensorRun]:
    """Group the tensors that lie together in all checkpoints and in the output.

    Args:
        checkpoints: At least one, all of one layout.
        target: The header of the output.
    """
    runs: list[TensorRun] = []
    group: list[Tensor] = []
    first_at: list[tuple[ByteSource, int]] = []
    next_at: list[tuple[ByteSource, int]] = []
    offset = 0
    tensors = checkpoints[0].tensors
    dtypes = ("", "")

    def close() -> None:
        if group:
            given, output = (FORMATS.get(dtype, COPIED) for dtype in dtypes)
            runs.append(TensorRun(tuple(group), given, output, tuple(first_at), offset))

    for number, (tensor, span) in enumerate(zip(tensors, target.spans, strict=True)):
        if not span.elements:
            continue  # It has no bytes.
        here = [checkpoint.places[number] for checkpoint in checkpoints]
        if (tensor[1], span.dtype) != dtypes or here != next_at:
            close()
            group, first_at, offset = [], here, span.offset
            dtypes = (tensor[1], span.dtype)
        group.append(tensor)
        size_bytes = tensor_bytes(tensor[1], tensor[2])
        next_at = [(source, begin + size_bytes) for source, begin in here]
    close()
    return runs


def require_equal_layout(checkpoints: Sequence[OpenCheckpoint]) -> None:
    """Refuse checkpoints that cannot be averaged; the message shows the first differences.

    Raises:
        Refused: Keys, shapes or types differ (exit 46).
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if differing := differences(first.tensors, other.tensors):
            shown = "; ".join(differing[:SHOWN])
            more = len(differing) - SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise Refused(
                f"{other.name} is refused: it does not fit {first.name}: {shown}{rest}",
                help="average checkpoints of one model, all of one type",
                exit_code=ExitCode.BAD_WEIGHTS,
            )


def differences(first: Sequence[Tensor], other: Sequence[Tensor]) -> list[str]:
    """List how keys, types and shapes of two checkpoints differ, in order of key."""
    if tuple(first) == tuple(other):
        return []
    ours = {key: (dtype, shape) for key, dtype, shape in first}
    theirs = {key: (dtype, shape) for key, dtype, shape in other}
    differing = []
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in theirs:
            differing.append(f"{key} is missing")
        elif key not in ours:
            differing.append(f"{key} is not in the other")
        elif ours[key] != theirs[key]:
            differing.append(f"{key} is {_type_text(theirs[key])}, not {_type_text(ours[key])}")
    return differing


def _type_text(tensor: tuple[str, tuple[int, ...]]) -> str:
    dtype, shape = tensor
    return f"{dtype} {list(shape)}"
