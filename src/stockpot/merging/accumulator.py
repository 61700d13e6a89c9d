"""The accumulator file: the exact sums of one recipe, in blocks, as a cache that checks itself.

    sums         block behind block, each as int32 or as float64 (see `accumulator_blocks`)
    exceptions   records of 64 bytes: element, ingredients with a -0 there, sum in units of 2^-149
    index        JSON: the digest of the recipe, and how wide each block is
    8 bytes      the length of the index

The elements are those of a canonical file, in its order. The seal, stored in the manifest, is a
SHA-256 over a fold of each block, over the exceptions and the index. A fold is 1,024 numbers of 32
bits, each a polynomial of every 1,024th word: a change of a single word changes it, and so does a
change within a stretch of 4 KiB. It costs a thirtieth of hashing all bytes, and detects faults of
disks and memory; it is no defence against an attacker, who could write the manifest as well. If the
seal does not match, the accumulator is not used.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from stockpot.core.digests import PREFIX, Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.accumulator_blocks import EXACT_BYTES, NARROW, WIDE, Exact
from stockpot.merging.formats import FORMATS, Stored
from stockpot.merging.kernel import FACTOR, LANES, Kernel
from stockpot.store.atomic import problem
from stockpot.store.ranges import ByteSource

log = structlog.get_logger()

BLOCK_ELEMENTS = 1 << 16
"""Large enough that the work for a block costs little beside the work for its elements."""
MOST_BLOCK_ELEMENTS = 1 << 24
MOST_EXCEPTIONS = 1 << 17
"""In one accumulator: 8 MiB. Models have a few in a million elements; beyond, no sums are kept."""
LENGTH_BYTES = 8
LONGEST_INDEX_BYTES = 64 << 20
DOMAIN = b"stockpot accumulator/1\n"
RECORD = np.dtype([("at", "<u8"), ("negative_zeros", "<u8"), ("units", f"V{EXACT_BYTES}")])
WIDTHS: Mapping[str, "np.dtype[Any]"] = {"4": NARROW, "8": WIDE}


@dataclass(frozen=True)
class Index:
    """The index of an accumulator file."""

    recipe: str
    """The digest of the recipe whose ingredients are summed."""
    layout: str
    """The layout digest of the ingredients."""
    given: str
    """The type of the ingredients' elements."""
    elements: int
    widths: str
    """For each block a 4 or an 8: the bytes of a sum."""
    exceptions: int
    block_elements: int
    version: int = 1

    @property
    def as_bytes(self) -> bytes:
        """The index as it is written in the file."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @cached_property
    def ends(self) -> list[int]:
        """The end of each block's sums, as a byte offset."""
        blocks = range(len(self.widths))
        return list(accumulate(self.elements_of(i) * int(self.widths[i]) for i in blocks))

    def elements_of(self, block: int) -> int:
        """The number of elements in a block; all blocks but the last have the same."""
        return min(self.block_elements, self.elements - block * self.block_elements)


class Seal:
    """Computes the digest of an accumulator, block by block in order."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256(DOMAIN)

    def block(self, fold: NDArray[np.uint32]) -> None:
        """Add the fold of the next block."""
        self._sha256.update(fold.data)

    def finish(self, exceptions: bytes, index: bytes) -> Digest:
        """Add the exceptions and the index, and return the digest."""
        self._sha256.update(exceptions)
        self._sha256.update(index)
        return Digest(PREFIX + self._sha256.hexdigest())


def fold(sums: Stored, kernel: Kernel | None) -> NDArray[np.uint32]:
    """Fold a contiguous block of sums into `LANES` numbers."""
    words = sums.view(np.uint32)
    if kernel is not None:
        return kernel.fold(words)
    rows = -(-words.size // LANES)
    padded = np.zeros(rows * LANES, np.uint32)
    padded[: words.size] = words
    powers = np.array([pow(FACTOR, rows - 1 - row, 1 << 32) for row in range(rows)], np.uint32)
    lanes: NDArray[np.uint32] = (padded.reshape(rows, LANES) * powers[:, None]).sum(
        axis=0, dtype=np.uint32
    )
    return lanes


@dataclass(frozen=True)
class Accumulator:
    """An open accumulator, whose sums are read block by block."""

    source: ByteSource
    index: Index
    records: NDArray[Any]

    @property
    def sums_bytes(self) -> int:
        """The size of all blocks together: where the exceptions begin."""
        return self.index.ends[-1]

    def place_of(self, block: int) -> tuple[int, "np.dtype[Any]", int]:
        """Return a block's byte offset, the type of its sums, and how many there are."""
        width, elements = self.index.widths[block], self.index.elements_of(block)
        kind = WIDTHS[width]
        return self.index.ends[block] - elements * kind.itemsize, kind, elements

    @cached_property
    def _bounds(self) -> list[int]:
        """The index of each block's first exception; the last entry is the number of all."""
        firsts = np.arange(len(self.index.widths) + 1, dtype=np.uint64) * self.index.block_elements
        bounds: list[int] = np.searchsorted(self.records["at"], firsts).tolist()
        return bounds

    def exceptions_of(self, block: int) -> dict[int, Exact]:
        """Return the exceptions of a block by index in the block."""
        first = block * self.index.block_elements
        begin, end = self._bounds[block], self._bounds[block + 1]
        return {
            int(record["at"]) - first: Exact(
                int(record["negative_zeros"]),
                int.from_bytes(record["units"].tobytes(), "little", signed=True),
            )
            for record in self.records[begin:end]
        }


def open_accumulator(source: ByteSource) -> Accumulator:
    """Open an accumulator: read its index and its exceptions.

    Raises:
        Refused: The source is no accumulator, or was cut short (exit 46).
    """
    tail = source.read(max(0, source.size_bytes - LENGTH_BYTES), LENGTH_BYTES)
    length = int.from_bytes(tail, "little")
    if length > min(LONGEST_INDEX_BYTES, source.size_bytes - LENGTH_BYTES):
        raise refused(source.name, "it was cut short")
    text = source.read(source.size_bytes - LENGTH_BYTES - length, length)
    try:
        index = Index(**json.loads(text))
        understood = (
            index.version == 1
            and 0 < index.block_elements <= MOST_BLOCK_ELEMENTS
            and index.given in FORMATS
            and len(index.widths) == -(-index.elements // index.block_elements) > 0
            and set(index.widths) <= WIDTHS.keys()
            and 0 <= index.exceptions <= MOST_EXCEPTIONS
        )
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise refused(source.name, "its index cannot be read") from error
    if not understood:
        raise refused(source.name, "its index is of another version")
    size_bytes = index.ends[-1] + index.exceptions * RECORD.itemsize + length + LENGTH_BYTES
    if size_bytes != source.size_bytes:
        raise refused(source.name, "its size differs from what its index says")
    data = source.read(index.ends[-1], index.exceptions * RECORD.itemsize)
    return Accumulator(source, index, np.frombuffer(data, RECORD))


class AccumulatorWriter:
    """Writes an accumulator block by block in order. If that fails, it keeps nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that is there already is overwritten: allocating its blocks anew costs more.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._offset = 0
        self._widths: list[str] = []
        self._records: list[bytes] = []
        self._seal = Seal()
        self.given_up = False

    def put(
        self, first: int, sums: Stored, fold: NDArray[np.uint32], exceptions: Mapping[int, Exact]
    ) -> None:
        """Write the next block.

        Args:
            first: The first element of the block.
            sums: The sums, as NARROW or WIDE.
            fold: The fold of the sums.
            exceptions: The exceptions by index in the block, in order.
        """
        if self.given_up or len(self._records) + len(exceptions) > MOST_EXCEPTIONS:
            self.given_up = True
            return
        data = sums.data.cast("B")
        try:
            while data:
                written = os.pwrite(self._file, data, self._offset)
                data, self._offset = data[written:], self._offset + written
        except OSError as error:
            self._give_up(error)
            return
        self._widths.append(str(sums.itemsize))
        self._seal.block(fold)
        for at, exact in exceptions.items():
            record = np.zeros((), RECORD)
            record["at"], record["negative_zeros"] = first + at, exact.negative_zeros
            record["units"] = np.void(exact.units.to_bytes(EXACT_BYTES, "little", signed=True))
            self._records.append(record.tobytes())

    def finish(
        self, recipe: str, layout: str, given: str, elements: int, block_elements: int
    ) -> Digest | None:
        """Write exceptions and index; return the seal, or None if the file was given up."""
        if self.given_up:
            return None
        widths, exceptions = "".join(self._widths), len(self._records)
        index = Index(recipe, layout, given, elements, widths, exceptions, block_elements).as_bytes
        records = b"".join(self._records)
        tail = records + index + len(index).to_bytes(LENGTH_BYTES, "little")
        try:
            os.pwrite(self._file, tail, self._offset)
            os.ftruncate(self._file, self._offset + len(tail))
        except OSError as error:
            self._give_up(error)
            return None
        return self._seal.finish(records, index)

    def _give_up(self, error: OSError) -> None:
        """Keep no sums, and free their space: a full disk must not stop the soup."""
        self.given_up = True
        log.warning("sums are not kept", why=problem(error, self._path).message)
        with suppress(OSError):
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def refused(name: str, why: str) -> Refused:
    """Refuse an accumulator; the merge then reads all ingredients."""
    return Refused(
        f"{name} is refused: {why}",
        help="it is only a cache: delete its folder in the store, or leave it there",
        exit_code=ExitCode.BAD_WEIGHTS,
    )
