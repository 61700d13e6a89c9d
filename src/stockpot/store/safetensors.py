"""The safetensors format: a strict reader of its header, and the canonical form.

Eight bytes hold the length of the header, the header is JSON with the place of each tensor, and the
rest is the tensors' bytes. Only the header of a file is read. A file that two readers could
interpret differently is refused. `weights` checks the numbers.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import ExitCode, Refused
from stockpot.store.atomic import appearing
from stockpot.store.ranges import IN_STORE, ByteSource, blocks, opened

LENGTH_BYTES = 8
LONGEST_HEADER_BYTES = 16 << 20
"""About 100,000 tensors; a longer one is a mistake or an attack."""
MOST_DIMENSIONS = 64
"""The limit of numpy and torch."""
LARGEST_NUMBER = 2**53 - 1
"""Larger numbers of JSON are read differently by different languages."""

ELEMENT_BITS: Mapping[str, int] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Every type of the format. Several elements of a narrow type share a byte."""

ELEMENT_BYTES: Mapping[str, int] = {
    dtype: bits // 8 for dtype, bits in ELEMENT_BITS.items() if bits % 8 == 0
}
"""The types whose elements are whole bytes, so that ranges can begin at any element."""

Shape = tuple[int, ...]
Tensor = tuple[str, str, Shape]
"""Key, dtype and shape."""


@dataclass(frozen=True)
class TensorSpan:
    """A tensor and its place in the file."""

    key: str
    dtype: str
    shape: Shape
    offset: int
    """The offset of its first byte from the beginning of the file."""
    size_bytes: int

    @property
    def elements(self) -> int:
        """The number of elements; 1 if it has no dimensions."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The header of a file, in order of key."""

    spans: tuple[TensorSpan, ...]
    data_offset: int
    """Where the first tensor begins: the size of length and header together."""
    size_bytes: int
    """The size of the whole file."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Key, dtype and shape of each tensor, in order of key."""
        return tuple((span.key, span.dtype, span.shape) for span in self.spans)


def read_header(source: ByteSource) -> Header:
    """Read and check the header of a safetensors file.

    It guarantees that every span lies inside of the file and has the size of its dtype and shape,
    and that every byte of the data belongs to exactly one tensor.

    Raises:
        Refused: The file is cut short, is no safetensors file, or contradicts itself (exit 46). The
            message names the file, and the tensor if there is one.
    """
    document, data_offset = _read_document(source)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(map(_is_text, (*metadata, *metadata.values()))):
        refuse(source.name, "its __metadata__ is no map from text to text")
    spans = tuple(_span(source.name, key, document[key], data_offset) for key in sorted(document))
    _require_whole_cover(source, spans, data_offset)
    return Header(spans, data_offset, source.size_bytes, metadata)


def canonical_header(tensors: Iterable[Tensor]) -> Header:
    """Lay out a canonical file: keys sorted, data contiguous in that order, no metadata.

    Args:
        tensors: In any order. Keys may not repeat; dtypes are keys of ELEMENT_BITS.
    """
    spans: list[TensorSpan] = []
    end = 0
    for key, dtype, shape in sorted(tensors):
        spans.append(TensorSpan(key, dtype, shape, end, tensor_bytes(dtype, shape)))
        end += spans[-1].size_bytes
    data_offset = len(header_bytes(Header(tuple(spans), 0, end)))
    moved = (
        TensorSpan(span.key, span.dtype, span.shape, span.offset + data_offset, span.size_bytes)
        for span in spans
    )
    return Header(tuple(moved), data_offset, data_offset + end)


def tensor_bytes(dtype: str, shape: Iterable[int]) -> int:
    """Return the number of bytes of a tensor."""
    return ELEMENT_BITS[dtype] * math.prod(shape) // 8


def header_bytes(header: Header) -> bytes:
    """Return the bytes before the data: the length, the JSON, and spaces to a multiple of 8.

    For a canonical header these are the first bytes of the canonical file. Metadata is left out.
    """
    document = {
        span.key: {
            "dtype": span.dtype,
            "shape": span.shape,
            "data_offsets": (
                span.offset - header.data_offset,
                span.offset - header.data_offset + span.size_bytes,
            ),
        }
        for span in header.spans
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def canonicalise(source: Path, target: Path) -> Digest:
    """Rewrite any valid safetensors file in canonical form, streaming.

    Args:
        source: The file to read.
        target: Appears whole or not at all; may be the source.

    Returns:
        The weights digest: the SHA-256 of the target.

    Raises:
        Refused: The source is no valid safetensors file (exit 46).
    """
    sha256 = hashlib.sha256()
    with opened(source) as reader:
        header = read_header(reader)
        with appearing(target) as file:
            first = header_bytes(canonical_header(header.tensors))
            sha256.update(first)
            file.write(first)
            for span in header.spans:
                for block in blocks(reader, span.offset, span.size_bytes):
                    sha256.update(block)
                    file.write(block)
    return Digest(PREFIX + sha256.hexdigest())


def refuse(name: str, why: str, advice: str = IN_STORE) -> NoReturn:
    """Refuse a weights file."""
    raise Refused(
        # The reason may quote the file, which may be megabytes.
        f"{name} is refused: {why if len(why) <= 400 else why[:400] + ' …'}",
        help=advice,
        exit_code=ExitCode.BAD_WEIGHTS,
    )


def _read_document(source: ByteSource) -> tuple[dict[str, Any], int]:
    """Read the JSON of the header; return it and the offset of the data."""
    name, size_bytes = source.name, source.size_bytes
    first = source.read(0, LENGTH_BYTES + 1)
    if len(first) < LENGTH_BYTES:
        refuse(name, f"it is cut short: {size_bytes} bytes cannot be a safetensors file")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if first[LENGTH_BYTES:] not in (b"{", b""):
        refuse(name, f"it is no safetensors file{_what_else(first)}")
    if length > LONGEST_HEADER_BYTES:
        refuse(name, f"its header claims {length} bytes; at most {LONGEST_HEADER_BYTES} are read")
    if LENGTH_BYTES + length > size_bytes:
        refuse(name, f"it is cut short: its header alone has {length} bytes, the file {size_bytes}")
    text = source.read(LENGTH_BYTES, length)
    if len(text) < length:
        refuse(name, "it is cut short: it became smaller while it was read")
    try:
        document = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=without_repetition,
            parse_constant=_no_constant,
            parse_int=_whole,
        )
    # Besides ill-formed JSON: bytes that are no UTF-8, a number of thousands of digits, nesting
    # thousands deep.
    except (ValueError, RecursionError) as error:
        refuse(name, f"its header cannot be read: {error}")
    if not isinstance(document, dict):
        refuse(name, "its header is no JSON object")
    return document, LENGTH_BYTES + length


def _what_else(first: bytes) -> str:
    if first[:1] == b"\x80" or first[:2] == b"PK":
        return ", but a pickle, which runs code when it is loaded"
    if first[:4] == b"\x00\x05\x16\x07":
        return ", but what macOS keeps beside a file, under its name with ._ before it"
    if first[:7] == b"version":
        return ", but a pointer of Git LFS: git lfs pull brings the file"
    return ""


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, for `json.loads`.

    Raises:
        ValueError: A key occurs twice.
    """
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return document


def _whole(text: str) -> int:
    # Python reads it as the integer 0, other readers as a float.
    if text == "-0":
        raise ValueError("-0 is no whole number")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _span(name: str, key: str, entry: Any, data_offset: int) -> TensorSpan:
    """Read the entry of one tensor; its offset becomes one from the beginning of the file."""
    if not key.isprintable():  # Also refuses half of a surrogate pair, which cannot be written.
        refuse(name, f"the key {key!r} cannot be printed")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        refuse(name, f"tensor {key} does not say just its dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BITS:
        refuse(name, f"tensor {key} is of type {dtype!r}, which we do not know")
    if not _are_numbers(shape) or len(shape) > MOST_DIMENSIONS:
        refuse(name, f"tensor {key} has the impossible shape {shape!r}")
    if not _are_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        refuse(name, f"tensor {key} has the impossible offsets {offsets!r}")
    begin, end = offsets
    if ELEMENT_BITS[dtype] * math.prod(shape) % 8:
        refuse(name, f"tensor {key} does not fill whole bytes: it is {dtype} {shape}")
    if end - begin != (needed := tensor_bytes(dtype, shape)):
        refuse(name, f"tensor {key} needs {needed} bytes for {dtype} {shape}; it has {end - begin}")
    return TensorSpan(key, dtype, tuple(shape), begin + data_offset, end - begin)


def _is_text(value: Any) -> bool:
    """Return whether a value is text that UTF-8 can encode: JSON may hold lone surrogates."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _are_numbers(value: Any) -> bool:
    """Return whether a value is a list of non-negative integers; booleans do not count."""
    return isinstance(value, list) and all(
        type(number) is int and 0 <= number <= LARGEST_NUMBER for number in value
    )


def _require_whole_cover(
    source: ByteSource, spans: tuple[TensorSpan, ...], data_offset: int
) -> None:
    """Refuse tensors that overlap, bytes that belong to none, and tensors beyond the end."""
    end, before = data_offset, ""
    for span in sorted(spans, key=lambda span: (span.offset, span.size_bytes)):
        if span.offset < end:
            refuse(source.name, f"tensors {before} and {span.key} overlap")
        if span.offset > end:
            refuse(source.name, f"{span.offset - end} bytes before {span.key} belong to no tensor")
        end, before = span.offset + span.size_bytes, span.key
    if end > source.size_bytes:
        refuse(
            source.name, f"it is cut short: {before} ends at byte {end}, the file at "
            f"{source.size_bytes}",
        )  # fmt: skip
    if end < source.size_bytes:
        refuse(
            source.name, f"{source.size_bytes - end} bytes behind the last tensor belong to none"
        )
