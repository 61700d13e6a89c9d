"""Admission of weights: checks which weights files may become part of a soup. No torch.

An admitted file is canonical, has a single type that can be averaged, and holds no NaN and no
infinity. It is read once, in blocks, so that memory does not grow with the model.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stockpot.api.manifest import TensorFacts
from stockpot.core.digests import PREFIX, Digest, digest_of_json
from stockpot.store.ranges import ByteSource, blocks, opened
from stockpot.store.safetensors import (
    Header,
    TensorSpan,
    canonical_header,
    canonicalise,
    header_bytes,
    read_header,
    refuse,
)

__all__ = [
    "FLOATS",
    "Header",
    "TensorSpan",
    "Weights",
    "canonical_header",
    "canonicalise",
    "facts_of",
    "header_bytes",
    "inspect_weights",
    "layout_digest",
    "read_header",
]


@dataclass(frozen=True)
class FloatFormat:
    """The bit layout of a floating-point type."""

    bits: np.dtype[np.unsignedinteger]
    """An unsigned integer of the same width, little-endian as in safetensors."""
    magnitude: int
    """The mask of all bits but the sign. Magnitudes as integers are ordered like their values."""
    infinity: int
    """The magnitude of infinity; those above it are NaNs."""


FLOATS: Mapping[str, FloatFormat] = {
    "F16": FloatFormat(np.dtype("<u2"), 0x7FFF, 0x7C00),
    "BF16": FloatFormat(np.dtype("<u2"), 0x7FFF, 0x7F80),
    "F32": FloatFormat(np.dtype("<u4"), 0x7FFF_FFFF, 0x7F80_0000),
}
"""The types that a soup's arithmetic is defined for."""


@dataclass(frozen=True)
class Weights:
    """The facts of an admitted weights file."""

    digest: Digest
    """The weights digest: the SHA-256 of the file."""
    size_bytes: int
    header: Header
    facts: TensorFacts


def inspect_weights(path: Path) -> Weights:
    """Read a weights file once, and admit or refuse it.

    Raises:
        Refused: It is no safetensors file, not canonical, holds no tensor, a type that cannot be
            averaged, several types, a NaN or an infinity (exit 46). The message names the file,
            the tensor and the index.
    """
    with opened(path) as source:
        header = read_header(source)
        dtype = _only_dtype(source.name, header)
        first = source.read(0, header.data_offset)
        if first != header_bytes(canonical_header(header.tensors)):
            refuse(
                source.name,
                "it is not in canonical form (keys sorted, data in that order, no metadata); "
                "stockpot.store.weights.canonicalise writes it so",
            )
        sha256 = hashlib.sha256(first)
        largest = 0
        for span in header.spans:
            largest = max(largest, _largest_magnitude(source, span, sha256))
    facts = facts_of(header, dtype, largest)
    return Weights(Digest(PREFIX + sha256.hexdigest()), header.size_bytes, header, facts)


def facts_of(header: Header, dtype: str, largest: int) -> TensorFacts:
    """Collect the facts of weights that their manifest records.

    Args:
        header: The header of the file.
        dtype: The type of all of its tensors.
        largest: The largest magnitude of any element, as bits of that type.
    """
    return TensorFacts(
        count=len(header.spans),
        parameters=sum(span.elements for span in header.spans),
        dtype=dtype,
        layout=layout_digest(header),
        largest=_value(dtype, largest).hex(),
    )


def layout_digest(header: Header) -> Digest:
    """Compute the digest of keys, types and shapes: checkpoints that share it can be averaged."""
    return digest_of_json(
        "layout/1", [[key, dtype, list(shape)] for key, dtype, shape in header.tensors]
    )


def _only_dtype(name: str, header: Header) -> str:
    if not header.spans:
        refuse(name, "it holds no tensor")
    first = header.spans[0]
    for span in header.spans:
        if span.dtype not in FLOATS:
            known = ", ".join(FLOATS)
            refuse(name, f"tensor {span.key} is of type {span.dtype}; weights are one of {known}")
        if span.dtype != first.dtype:
            refuse(
                name,
                f"tensor {first.key} is of type {first.dtype} and {span.key} of {span.dtype}; "
                "weights are of one type",
            )
    return first.dtype


def _largest_magnitude(source: ByteSource, span: TensorSpan, sha256: "hashlib._Hash") -> int:
    """Read a tensor; return its largest magnitude, as bits."""
    form = FLOATS[span.dtype]
    largest = done = 0
    for block in blocks(source, span.offset, span.size_bytes):
        sha256.update(block)
        magnitudes = np.frombuffer(block, form.bits) & form.magnitude
        top = int(magnitudes.max())
        if top >= form.infinity:
            at = int(np.argmax(magnitudes >= form.infinity))
            what = "an infinity" if int(magnitudes[at]) == form.infinity else "a NaN"
            index = [int(i) for i in np.unravel_index(done + at, span.shape)] if span.shape else []
            refuse(source.name, f"tensor {span.key} has {what} at {index}")
        largest = max(largest, top)
        done += magnitudes.size
    return largest


def _value(dtype: str, magnitude: int) -> float:
    """Convert the bits of a magnitude to the number, which a Python float holds exactly."""
    match dtype:
        case "F16":
            return float(np.uint16(magnitude).view(np.float16))
        case "BF16":  # The upper half of an F32.
            return float(np.uint32(magnitude << 16).view(np.float32))
        case _:
            return float(np.uint32(magnitude).view(np.float32))
