"""The verb: make the soup of a recipe, and put it into the store with its lineage.

Memory is bounded, whatever the model and however many ingredients: they are read side by side in
blocks, and the soup goes straight to a file.
"""

import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.runspec import MergeRun, RunResult
from stockpot.core import recipe
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.merging.formats import FORMATS, OUTPUTS, Format
from stockpot.merging.mean import mean
from stockpot.merging.parts import Part, open_part, require_equal_layout
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin, find_complete, publish
from stockpot.store.atomic import appearing
from stockpot.store.base import open_base
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import opened
from stockpot.store.tombstones import refuse_forgotten
from stockpot.store.weights import (
    TensorSpan,
    Weights,
    canonical_header,
    canonicalise,
    header_bytes,
    inspect_weights,
)

BLOCK_ELEMENTS = 1 << 16
AHEAD_BYTES = 16 << 20
"""For all ingredients together; each asks the store for its share of it at once."""
LEAST_AHEAD_BYTES, MOST_AHEAD_BYTES = 1 << 16, 8 << 20


def run(spec: MergeRun, *, work: Path, progress: Progress, stop: threading.Event) -> RunResult:
    """Make the exact weighted mean of a recipe; of no parts, the base itself.

    Raises:
        Refused: An ingredient is not there, not the one that was named, or does not fit (exit
            46); a shard of the recipe was forgotten (47); the recipe's digest is of another
            recipe (48); the base is refused (43, 45).
        Transient: The store or the disk fails.
        StockpotError: It was asked to end (75); nothing was published.
    """
    began_s = time.monotonic()
    store, keys = open_store(spec.store), Keys(spec.soup.namespace)
    shards = {part.shard_uid for part in spec.parts}
    _require_own_digest(spec)
    refuse_forgotten(store, keys, shards)
    folder_key = keys.revision(spec.soup.uid, spec.recipe_digest)
    found = _find_made(store, folder_key, spec)
    if found is not None:
        return _result(found, reused=True)

    scratch = work / "merge"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        soup = scratch / WEIGHTS
        if spec.parts:
            base = _base_digest(spec, store, scratch)
            # The order is of no consequence to the bytes; that errors name the same part is nice.
            ordered = sorted(spec.parts, key=lambda part: (part.weights_digest, part.weight))
            parts = [open_part(store, keys, part, base) for part in ordered]
            merge(parts, soup, OUTPUTS[spec.output], progress, stop)
        else:
            opened_base = open_base(spec.base, store, scratch)
            base = opened_base.digest
            canonical = scratch / "base.safetensors"
            canonicalise(opened_base.unet_weights, canonical)
            with opened(canonical) as source:
                merge([Part(source, 1, None)], soup, OUTPUTS[spec.output], progress, stop)
        progress.begin("publishing")
        manifest = _manifest(spec, base, inspect_weights(soup), time.monotonic() - began_s)
        refuse_forgotten(store, keys, shards)
        begin(store, folder_key, manifest)
        publish(store, folder_key, {WEIGHTS: soup}, manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _result(manifest.model_copy(update={"files": (WEIGHTS,)}), reused=False)


def merge(
    parts: Sequence[Part], soup: Path, output: Format, progress: Progress, stop: threading.Event
) -> None:
    """Write the mean of open parts as a canonical file, which appears whole or not at all.

    Args:
        parts: At least one; nothing was read of them but their headers.
        soup: Where to.
        output: What each element is rounded to, once.
        progress: Counts the bytes that were read.
        stop: Ends it at the next block.

    Raises:
        Refused: The parts do not fit, or one is not what was named; or an element is too large
            for the output (exit 46).
    """
    require_equal_layout(parts)
    spans = parts[0].header.spans
    weights = [part.weight for part in parts]
    ahead_bytes = min(max(AHEAD_BYTES // len(parts), LEAST_AHEAD_BYTES), MOST_AHEAD_BYTES)
    target = canonical_header((span.key, output.name, span.shape) for span in spans)
    progress.begin("merging", total_steps=sum(part.header.size_bytes for part in parts))
    read_bytes = sum(part.header.data_offset for part in parts)
    with appearing(soup) as file:
        file.write(header_bytes(target))
        for span in spans:
            given = FORMATS[span.dtype]
            block_elements = min(BLOCK_ELEMENTS, ahead_bytes // given.item_bytes)
            for first in range(0, span.elements, block_elements):
                elements = min(block_elements, span.elements - first)
                blocks = [part.read(span, first, elements, ahead_bytes) for part in parts]
                averaged = mean(blocks, weights, given, output)
                _require_finite(averaged, span, first, output)
                file.write(averaged.tobytes())
                read_bytes += elements * given.item_bytes * len(parts)
                progress.advance(read_bytes)
                _stop_here(stop)
        for part in parts:
            part.finish()


def _require_finite(averaged: np.ndarray, span: TensorSpan, first: int, output: Format) -> None:
    finite = np.isfinite(output.exact(averaged))
    if not finite.all():
        at = np.unravel_index(first + int(np.argmin(finite)), span.shape)
        raise Refused(
            f"the mean of tensor {span.key} at {[int(i) for i in at]} is too large for "
            f"{output.name}",
            help="choose another output in the Soup's spec.merge.output: bf16 or fp32",
            exit_code=ExitCode.BAD_WEIGHTS,
        )


def _stop_here(stop: threading.Event) -> None:
    if stop.is_set():
        raise StockpotError(
            "The merge ended when asked to; nothing was published.",
            help="Run it again: it starts from the beginning.",
            exit_code=ExitCode.INTERRUPTED,
        )


def _require_own_digest(spec: MergeRun) -> None:
    """Refuse a recipe under another's name: it would be served as that one."""
    parts = sorted(
        recipe.Part(
            recipe.Ingredient(recipe.ShardUID(part.shard_uid), Digest(part.training_key)),
            Digest(part.weights_digest),
            part.weight,
        )
        for part in spec.parts
    )
    digest = recipe.Recipe(tuple(parts), spec.output.value).digest
    if digest != spec.recipe_digest:
        raise Refused(
            f"the run {spec.name} is for the recipe {spec.recipe_digest}; its parts are {digest}",
            help="whoever started the run is of another version: run the same one everywhere",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )


def _base_digest(spec: MergeRun, store: ObjectStore, scratch: Path) -> Digest:
    if spec.base.digest is not None:
        return Digest(spec.base.digest)
    return open_base(spec.base, store, scratch).digest


def _find_made(store: ObjectStore, folder_key: str, spec: MergeRun) -> Manifest | None:
    """Find the revision finished; one whose file is gone or has another size is made again."""
    found = find_complete(store, folder_key)
    if found is None:
        return None
    told = spec.base.digest
    if found.recipe_digest != spec.recipe_digest or told not in (None, found.base_digest):
        raise Refused(
            f"{folder_key} holds the recipe {found.recipe_digest} of the base {found.base_digest}; "
            f"{spec.recipe_digest} of {told} was asked for",
            help="delete that folder in the store to have it merged again",
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    return found


def _manifest(spec: MergeRun, base: Digest, weights: Weights, seconds: float) -> Manifest:
    lineage = {(part.shard_uid, part.training_key) for part in spec.parts}
    return Manifest(
        kind=ArtefactKind.REVISION,
        lineage=tuple(LineagePair(shard=uid, training_key=key) for uid, key in sorted(lineage)),
        base_digest=base,
        digest=weights.digest,
        size_bytes=weights.size_bytes,
        tensors=weights.facts,
        recipe_digest=spec.recipe_digest,
        parts=spec.parts,
        made_by=f"stockpot {__version__}",
        facts={"parts": str(len(spec.parts)), "seconds": f"{seconds:.1f}"},
    )


def _result(manifest: Manifest, *, reused: bool) -> RunResult:
    return RunResult(
        reused=reused,
        weights_digest=manifest.digest,
        size_bytes=manifest.size_bytes,
        recipe_digest=manifest.recipe_digest,
        base_digest=manifest.base_digest,
        figures={} if reused else {"seconds": manifest.facts["seconds"]},
    )
