"""The verb: make the soup of a recipe, and put it into the store with its lineage.

Memory is bounded, whatever the model and however many ingredients: they are read side by side in
blocks, and the soup goes straight to a file.
"""

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest, TensorFacts
from stockpot.api.runspec import MergeRun, RunResult
from stockpot.core import recipe
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused
from stockpot.merging.checkpoints import Checkpoint, of_sources
from stockpot.merging.cores import cores
from stockpot.merging.engine import Settings, average
from stockpot.merging.formats import OUTPUTS, Format
from stockpot.merging.kernel import installed
from stockpot.merging.layout import output_header, require_equal_layout, runs
from stockpot.merging.parts import Part, open_part
from stockpot.merging.targets import file_target
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin, find_complete, publish
from stockpot.store.base import open_base
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import opened
from stockpot.store.tombstones import refuse_forgotten
from stockpot.store.weights import Weights, facts_of


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
        soup, output = scratch / WEIGHTS, OUTPUTS[spec.output]
        settings = Settings(cores(), installed())
        if spec.parts:
            base = _base_digest(spec, store, scratch)
            # The order is of no consequence to the bytes; that errors name the same part is nice.
            ordered = sorted(spec.parts, key=lambda part: (part.weights_digest, part.weight))
            parts = [open_part(store, keys, part, base) for part in ordered]
            weights = merge(parts, soup, output, settings, progress, stop)
        else:
            opened_base = open_base(spec.base, store, scratch)
            base = opened_base.digest
            with ExitStack() as stack:
                source = stack.enter_context(opened(opened_base.unet_weights))
                only = of_sources(source.name, [source])
                weights = _averaged([only], [1], None, soup, output, settings, progress, stop)
        progress.begin("publishing")
        manifest = _manifest(spec, base, weights, time.monotonic() - began_s)
        refuse_forgotten(store, keys, shards)
        begin(store, folder_key, manifest)
        publish(store, folder_key, {WEIGHTS: soup}, manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _result(manifest.model_copy(update={"files": (WEIGHTS,)}), reused=False)


def merge(
    parts: Sequence[Part],
    soup: Path,
    output: Format,
    settings: Settings,
    progress: Progress,
    stop: threading.Event,
) -> Weights:
    """Write the mean of open parts as a canonical file, which appears whole or not at all.

    Args:
        parts: At least one; nothing was read of them but their headers.
        soup: Where to.
        output: What each element is rounded to, once.
        settings: How to work; of no consequence to the bytes.
        progress: Counts the bytes that were read.
        stop: Ends it at the next block.

    Raises:
        Refused: The parts do not fit, or one is not what was named; or an element is too large
            for the output (exit 46).
    """
    return _averaged(
        [part.checkpoint for part in parts],
        [part.weight for part in parts],
        parts,
        soup,
        output,
        settings,
        progress,
        stop,
    )


def _averaged(
    checkpoints: Sequence[Checkpoint],
    weights: Sequence[int],
    parts: Sequence[Part] | None,
    soup: Path,
    output: Format,
    settings: Settings,
    progress: Progress,
    stop: threading.Event,
) -> Weights:
    require_equal_layout(checkpoints)
    header = output_header(checkpoints[0].tensors, output)
    headers = [part.first_bytes for part in parts or ()]
    before = sum(len(data) for data in headers)
    given_bytes = sum(source.size_bytes for one in checkpoints for source in one.sources)
    progress.begin("merging", total_steps=given_bytes)
    with file_target(soup, header.size_bytes) as target:
        made = average(
            [one.name for one in checkpoints],
            weights,
            runs(checkpoints, header),
            header,
            target,
            settings,
            hashed=headers or None,
            advance=lambda done: progress.advance(before + done),
            stop=stop,
        )
        for part, found in zip(parts or (), made.inputs, strict=True):
            part.require_digest(found)
    facts: TensorFacts = facts_of(header, output.name, made.largest)
    return Weights(made.digest, header.size_bytes, header, facts)


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
