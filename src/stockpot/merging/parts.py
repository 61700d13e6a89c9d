"""Ingredients, read from the store once and in order, and looked at in full on the way.

A canonical file lies in the order in which it is averaged, so one pass does everything: what is
hashed is what is averaged, no copy is kept, and memory does not grow with the model. An
ingredient that is not the one that was named is refused when its header or its last byte is read,
which is before anything is published.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from stockpot.api.manifest import ArtefactKind
from stockpot.api.runspec import RecipePart
from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.formats import FORMATS, Stored
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import ByteSource, blocks, object_bytes
from stockpot.store.safetensors import Tensor
from stockpot.store.weights import (
    FLOATS,
    Header,
    TensorSpan,
    canonical_header,
    header_bytes,
    read_header,
)

SHOWN = 5


class Part:
    """One weights file under way: its header is read, its tensors come in order of key."""

    def __init__(self, source: ByteSource, weight: int, digest: str | None) -> None:
        """Read the header.

        Args:
            source: A canonical safetensors file of F16, BF16 or F32.
            weight: In the mean, >= 1.
            digest: What the file must turn out to be; None where somebody looked already.

        Raises:
            Refused: It is no such file (exit 46).
        """
        self.name = source.name
        self.weight = weight
        self.header: Header = read_header(source)
        self._source = source
        self._digest = digest
        self._sha256 = hashlib.sha256()
        self._read_bytes = 0
        self._ahead = memoryview(b"")
        for span in self.header.spans:
            if span.dtype not in FORMATS:
                known = ", ".join(sorted(FORMATS))
                raise self._refused(f"tensor {span.key} is {span.dtype}; weights are {known}")
        canonical = header_bytes(canonical_header(self.header.tensors))
        if self._take(self.header.data_offset, 0) != canonical:
            raise self._refused("it is not in canonical form, so it was not written by a training")

    def read(self, span: TensorSpan, first: int, elements: int, ahead_bytes: int) -> Stored:
        """Read the next elements; each tensor once, in order of key.

        Args:
            span: The tensor.
            first: Index of the first element, in the flattened tensor.
            elements: How many.
            ahead_bytes: How much to ask the store for at once.

        Returns:
            Shape (elements,), as stored, all of them finite.

        Raises:
            Refused: The file ends too early, or an element is NaN or infinite (exit 46).
        """
        form = FORMATS[span.dtype]
        data = self._take(elements * form.item_bytes, ahead_bytes)
        bits = FLOATS[span.dtype]
        wild = np.frombuffer(data, bits.bits) & bits.magnitude >= bits.infinity
        if wild.any():
            at = np.unravel_index(first + int(np.argmax(wild)), span.shape)
            where = [int(index) for index in at]
            raise self._refused(f"tensor {span.key} has a NaN or an infinity at {where}")
        return np.frombuffer(data, form.storage)

    def finish(self) -> None:
        """Say that all was read.

        Raises:
            Refused: The bytes were not the ones that were named (exit 46).
        """
        assert self._read_bytes == self.header.size_bytes
        assert not self._ahead
        found = PREFIX + self._sha256.hexdigest()
        if self._digest is not None and found != self._digest:
            raise self._refused(f"it was edited: it is {found}, and {self._digest} was named")

    def _take(self, length: int, ahead_bytes: int) -> memoryview:
        """Take the next bytes, hashing what is fetched for it."""
        if len(self._ahead) < length:
            left = self.header.size_bytes - self._read_bytes
            fetched = min(max(length - len(self._ahead), ahead_bytes), left)
            pieces = [*blocks(self._source, self._read_bytes, fetched, max(fetched, 1))]
            for piece in pieces:
                self._sha256.update(piece)
            self._read_bytes += fetched
            self._ahead = memoryview(b"".join([self._ahead, *pieces]))
        taken, self._ahead = self._ahead[:length], self._ahead[length:]
        return taken

    def _refused(self, why: str) -> Refused:
        return refused(self.name, why)


def open_part(store: ObjectStore, keys: Keys, part: RecipePart, base: Digest) -> Part:
    """Find an ingredient in the store.

    Raises:
        Refused: It is not there, is of another shard, base or digest than the recipe says, or was
            cut short (exit 46).
    """
    folder_key = keys.ingredient(part.shard_uid, part.training_key)
    manifest = read_manifest(store, folder_key)
    if manifest is None or manifest.kind is not ArtefactKind.INGREDIENT:
        raise refused(folder_key, "no ingredient is there")
    if {pair.shard for pair in manifest.lineage} != {part.shard_uid}:
        shards = ", ".join(sorted({pair.shard for pair in manifest.lineage})) or "nobody knows what"
        raise refused(folder_key, f"its manifest says that it was made from {shards}")
    if manifest.digest != part.weights_digest:
        raise refused(
            folder_key,
            f"its manifest says {manifest.digest or 'that it is not finished'}, and the recipe "
            f"names {part.weights_digest}",
        )
    if manifest.base_digest != base:
        raise refused(
            folder_key,
            f"it was trained from the base {manifest.base_digest}, and the soup's is {base}",
        )
    source = object_bytes(store, folder_key + WEIGHTS)
    if source.size_bytes != manifest.size_bytes:
        raise refused(
            source.name,
            f"it was cut short or edited: it has {source.size_bytes} bytes, its manifest says "
            f"{manifest.size_bytes}",
        )
    return Part(source, part.weight, part.weights_digest)


def require_equal_layout(parts: Sequence[Part]) -> None:
    """Refuse ingredients that cannot be averaged: by name, with the first differences.

    Raises:
        Refused: Keys, shapes or types differ (exit 46).
    """
    first = parts[0]
    for other in parts[1:]:
        differences = _differences(first.header.tensors, other.header.tensors)
        if differences:
            shown = "; ".join(differences[:SHOWN])
            more = len(differences) - SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise refused(other.name, f"it does not fit {first.name}: {shown}{rest}")


def refused(name: str, why: str) -> Refused:
    """Refuse an ingredient, in the one way in which all of them are refused."""
    return Refused(
        f"{name} is refused: {why}",
        help="restore it, or delete its folder in the store to have the shard trained again",
        exit_code=ExitCode.BAD_WEIGHTS,
    )


def _differences(first: Sequence[Tensor], other: Sequence[Tensor]) -> list[str]:
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
