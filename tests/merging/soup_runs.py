"""Merges recipes in a folder store, and finds their soups and sums."""

import threading
from collections.abc import Sequence
from pathlib import Path

from tests.merging.ingredients import (
    KEYS,
    SOUP,
    an_ingredient,
    file_bytes,
    some_tensors,
)

from stockpot.api.manifest import Manifest
from stockpot.api.results import MergeResult
from stockpot.api.runspec import MergeRun, RecipePart
from stockpot.merging import merge
from stockpot.merging.run import run
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import find_complete
from stockpot.store.folder import FolderStore
from stockpot.store.keys import SUMS, WEIGHTS

SHAPES = {"a.weight": (40, 7), "b.bias": (19,), "c": ()}

SCRATCH, INCREMENTAL = "FromScratch", "Incremental"


def merged(spec: MergeRun, root: Path) -> MergeResult:
    return run(spec, work=root.parent / "work", progress=Progress(), stop=threading.Event())


def parts_of(root: Path, count: int = 8, dtype: str = "F16") -> list[RecipePart]:
    work = root.parent / "work"
    return [
        an_ingredient(root, f"shard-{i}", file_bytes(some_tensors(i, dtype, SHAPES)), work)
        for i in range(count)
    ]


def ingredient_of(root: Path, part: RecipePart) -> Path:
    return root / KEYS.ingredient(part.shard_uid, part.training_key) / WEIGHTS


def sums_of(root: Path, spec: MergeRun) -> Path:
    return root / KEYS.accumulator(SOUP.uid, spec.recipe_digest) / SUMS


def kept(root: Path) -> list[Manifest]:
    """Return the manifests of the complete accumulators."""
    store = FolderStore(root)
    above = KEYS.accumulators(SOUP.uid)
    folders = sorted({info.key[: info.key.rfind("/") + 1] for info in store.list(above)})
    return [manifest for folder in folders if (manifest := find_complete(store, folder))]


def from_scratch(root: Path, parts: Sequence[RecipePart], spec: MergeRun) -> bytes:
    """Average the same recipe with `merge`, which uses no sums; return the bytes."""
    path = root.parent / "scratch.safetensors"
    dtype = {"fp16": "fp16", "bf16": "bf16", "fp32": "fp32"}[spec.output.value]
    merge({ingredient_of(root, part): part.weight for part in parts}, path, out_dtype=dtype)
    return path.read_bytes()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
