"""`verify`: checks a soup against its definition, independently of the code that merged it.

It hashes every byte of the file and reads every header again. Of each tensor it averages the first,
the last and some elements in between in rationals. Tensors that are copied are compared whole.
"""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from math import prod

import numpy as np

from stockpot.core.digests import PREFIX
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import OpenCheckpoint, help_for_own_files, open_checkpoint
from stockpot.merging.copies import is_copied, read_bytes
from stockpot.merging.formats import FORMATS, Format
from stockpot.merging.inputs import open_inputs
from stockpot.merging.layout import differences
from stockpot.merging.lora_fusion import fold_plainly
from stockpot.merging.weights import PathOrUrl, Weight, parse_inputs, whole_weights
from stockpot.store.ranges import ByteSource, ObjectBytes, blocks
from stockpot.store.safetensors import ELEMENT_BYTES, tensor_bytes

SAMPLES = 4096
"""How many elements of the whole soup are checked, about."""
FETCH_BYTES = 1 << 20
AHEAD_BYTES = 256 << 10
"""Bytes fetched at once of an object in a store, for one element and those that follow it."""


def verify(
    soup: PathOrUrl,
    inputs: Mapping[PathOrUrl, Weight] | Iterable[PathOrUrl | tuple[PathOrUrl, Weight]],
    *,
    base: PathOrUrl | None = None,
    digest: str | None = None,
    samples: int = SAMPLES,
) -> int:
    """Refuse a soup that is not the mean of its checkpoints.

    Args:
        soup: The file, or `s3://bucket/key`.
        inputs: The checkpoints with their weights, as for `merge`.
        base: The base that LoRAs were folded into, as for `merge`.
        digest: The digest that the file must have. None skips hashing.
        samples: How many elements to average in rationals, about; at least two of each tensor. As
            many as the soup has, or more: each one.

    Returns:
        How many elements were averaged.

    Raises:
        Refused: The soup is not the mean (exit 43); or an input is invalid, as in `merge`.
    """
    pairs = [(where, weight) for where, weight in parse_inputs(inputs) if weight]
    weights = whole_weights([weight for _, weight in pairs])
    with help_for_own_files(), ExitStack() as stack:
        made = open_checkpoint(soup, stack)
        if digest is not None:
            _require_digest(made, digest)
        # Folded in numpy, because compiled code may have written the soup.
        parts = open_inputs((where for where, _ in pairs), base, stack, fold_plainly).checkpoints
        for part in parts:
            alike = [(key, "", shape) for key, _, shape in part.tensors]
            soup_shapes = [(key, "", shape) for key, _, shape in made.tensors]
            if differing := differences(soup_shapes, alike):
                raise _not_the_mean(made.name, f"{part.name} does not fit it: {differing[0]}")
        return _compare(made, parts, weights, samples)


def _require_digest(made: OpenCheckpoint, digest: str) -> None:
    for source in made.sources:
        sha256 = hashlib.sha256()
        for block in blocks(source, 0, source.size_bytes, FETCH_BYTES):
            sha256.update(block)
        if (actual := PREFIX + sha256.hexdigest()) != digest:
            raise _not_the_mean(source.name, f"its digest is {actual}, not {digest}")


def _compare(
    made: OpenCheckpoint, parts: Sequence[OpenCheckpoint], weights: Sequence[int], samples: int
) -> int:
    dice = random.Random(0)  # noqa: S311 - the same ones each time
    parameters = sum(prod(shape) for _, _, shape in made.tensors)
    averaged, made_of = _ElementReader(made), [_ElementReader(part) for part in parts]
    compared = 0
    for number, tensor in enumerate(made.tensors):
        key, dtype, shape = tensor
        elements = prod(shape)
        if not elements:
            continue
        if is_copied(tensor):
            _require_copied(made, parts, number)
            continue
        more = samples * elements // max(parameters, 1)
        chosen: Sequence[int] = range(elements)
        if more < elements:
            drawn = {0, elements - 1, *(dice.randrange(elements) for _ in range(more))}
            chosen = sorted(drawn)
        for element in chosen:
            exact = sum(
                (
                    part.exact(number, element) * weight
                    for part, weight in zip(made_of, weights, strict=True)
                ),
                start=Fraction(0),
            ) / sum(weights)
            actual = averaged.exact(number, element)
            if not _is_rounded(exact, actual, FORMATS[dtype]):
                raise _not_the_mean(
                    made.name,
                    f"tensor {key} has {float(actual)} at element {element}; the mean is "
                    f"{float(exact)}",
                )
        compared += len(chosen)
    return compared


def _require_copied(made: OpenCheckpoint, parts: Sequence[OpenCheckpoint], number: int) -> None:
    """Refuse a soup whose copied tensor differs from that of a checkpoint."""
    key, dtype, shape = made.tensors[number]
    size_bytes = tensor_bytes(dtype, shape)
    for part in parts:
        if part.tensors[number][1] != dtype:
            raise _not_the_mean(
                made.name, f"tensor {key} is {dtype}, in {part.name} of another type"
            )
        for begin in range(0, size_bytes, FETCH_BYTES):
            length = min(FETCH_BYTES, size_bytes - begin)
            ours = read_bytes(made.places[number], begin, length)
            if not np.array_equal(ours, read_bytes(part.places[number], begin, length)):
                raise _not_the_mean(made.name, f"tensor {key} differs from that of {part.name}")


class _ElementReader:
    """Reads single elements of a checkpoint, in the order in which they lie."""

    def __init__(self, checkpoint: OpenCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._source: ByteSource | None = None
        self._at, self._data = 0, b""

    def exact(self, number: int, element: int) -> Fraction:
        """Return the value of an element of the tensor with this number."""
        _, dtype, _ = self._checkpoint.tensors[number]
        source, offset = self._checkpoint.places[number]
        form, size_bytes = FORMATS[dtype], ELEMENT_BYTES[dtype]
        data = self._read(source, offset + element * size_bytes, size_bytes)
        return Fraction(float(form.exact(np.frombuffer(data, form.storage))[0]))

    def _read(self, source: ByteSource, offset: int, length: int) -> bytes:
        if not isinstance(source, ObjectBytes):
            return source.read(offset, length)
        # A request costs as much as a megabyte, and the next element is often nearer than that.
        begin = offset - self._at
        if source is not self._source or not 0 <= begin <= len(self._data) - length:
            self._data = source.read(offset, AHEAD_BYTES)
            self._source, self._at, begin = source, offset, 0
        return self._data[begin : begin + length]


def _is_rounded(exact: Fraction, actual: Fraction, form: Format) -> bool:
    """Whether `actual` is the number of a format nearest to `exact`, ties to even."""
    if not exact:
        return not actual
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    if Fraction(2) ** exponent > abs(exact):
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, form.min_exponent) - form.precision + 1)
    return round(exact / quantum) * quantum == actual


def _not_the_mean(name: str, why: str) -> Refused:
    return Refused(
        f"{name} is not the mean of these checkpoints: {why}",
        help="if the checkpoints have not changed since, merge them again, and check the disk and "
        "the memory for faults",
        exit_code=ExitCode.WRONG_DIGEST,
    )
