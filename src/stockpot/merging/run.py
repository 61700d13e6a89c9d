"""The merge run: makes the soup of a recipe and publishes it in the store with its lineage.

Memory is bounded for any model and any number of ingredients: they are read side by side in blocks,
and the soup is written straight to the store, without a file in between. Its manifest with the
lineage is written before its first byte; the digest is added when the last byte is written.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from stockpot import __version__
from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest, MergeWay
from stockpot.api.results import MergeResult
from stockpot.api.runspec import MergeRun
from stockpot.core import recipe
from stockpot.core.digests import Digest
from stockpot.errors import ExitCode, Refused, StockpotError
from stockpot.merging.accumulators import lineage_of, publish_sums, retire
from stockpot.merging.checkpoints import help_for_own_files, read_checkpoint
from stockpot.merging.formats import OUTPUTS
from stockpot.merging.interfaces import MergeSettings, Target
from stockpot.merging.kernel import installed
from stockpot.merging.lora_ingredients import has_lora, make_folded
from stockpot.merging.recipes import MergeContext, MergedSoup, make, write_mean
from stockpot.merging.targets import store_target
from stockpot.metrics.progress import Progress
from stockpot.process.cpu_limit import cores
from stockpot.store.artefacts import begin, find_complete, finish, sweep
from stockpot.store.base import OpenBase, open_base, open_denoiser, resolution_multiple
from stockpot.store.keys import SUMS, WEIGHTS, Keys
from stockpot.store.namespace_mark import claim_prefix
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.receipts import chain_head
from stockpot.store.tombstones import refuse_forgotten

log = structlog.get_logger()


def run(spec: MergeRun, *, work: Path, progress: Progress, stop: threading.Event) -> MergeResult:
    """Make the exact weighted mean of a recipe; a recipe without parts yields the base itself.

    Raises:
        Refused: An ingredient is missing, has another digest than the recipe names, or does not
            fit (exit 46); a shard of the recipe was forgotten (47); the digest is that of another
            recipe (48); the base is refused (43, 45).
        Transient: The store or the disk fails.
        StockpotError: The merge was stopped (75); nothing was published.
    """
    began_s = time.monotonic()
    store, keys = open_store(spec.store, spec.soup.namespace), Keys(spec.soup.namespace)
    shards = {part.shard_uid for part in spec.parts}
    pairs = [LineagePair(shard=o.shard_uid, training_key=o.training_key) for o in spec.parts]
    _require_own_digest(spec)
    claim_prefix(store, keys, spec.namespace)
    refuse_forgotten(store, keys, shards, pairs)
    folder_key = keys.revision(spec.soup.uid, spec.recipe_digest)
    finished_before = _find_finished(store, folder_key, spec)
    if finished_before is not None:
        return _result(finished_before, reused=True)

    @contextmanager
    def soup(size_bytes: int) -> Iterator[Target]:
        begin(store, folder_key, _manifest(spec, base))
        sweep(store, folder_key)
        with store_target(store, folder_key + WEIGHTS, size_bytes) as target:
            yield target
            progress.begin("publishing")
            refuse_forgotten(store, keys, shards, pairs)

    scratch = work / "merge"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        settings = MergeSettings(cores(), installed())
        context = MergeContext(soup, scratch / SUMS, OUTPUTS[spec.output], settings, progress, stop)
        pixels: int | None = None
        # A mean of whole ingredients needs no byte of the base.
        needs_base = not spec.parts or has_lora(store, keys, spec.parts)
        opened_base = open_base(spec.base, store, scratch) if needs_base else None
        base = opened_base.digest if opened_base else _base_digest(spec, store, scratch)
        if opened_base is None:
            uid, digest = spec.soup.uid, spec.recipe_digest
            made = make(store, keys, uid, digest, spec.parts, base, context)
        elif spec.parts:
            made = make_folded(store, keys, spec.parts, base, opened_base.folder, context)
        else:
            made = _convert(opened_base, context)
            pixels = resolution_multiple(opened_base.folder)
        manifest = _manifest(spec, base)
        finished = _finished(manifest, made, time.monotonic() - began_s, pixels)
        head = chain_head(store, keys, spec.soup.uid)
        # Removing receipts then shows, unless every soup that was made after them is removed too.
        finished = finished.model_copy(update={"chain": head if head.sequence else None})
        manifest = finish(store, folder_key, finished)
        if spec.parts:
            _keep_sums(store, keys, spec.soup.uid, made, context.sums, manifest)
        return _result(manifest, reused=False)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(base: OpenBase, context: MergeContext) -> MergedSoup:
    """Make a revision of the base alone."""
    with help_for_own_files(), ExitStack() as stack:
        sources = open_denoiser(base.folder, stack)
        only = read_checkpoint(sources[0].name, sources)
        weights, _ = write_mean([only], [1], context)
        read_bytes = sum(source.size_bytes for source in sources)
        return MergedSoup(weights, MergeWay.FROM_SCRATCH, read_bytes)


def _require_own_digest(spec: MergeRun) -> None:
    """Refuse a recipe under another recipe's digest: it would be served as that one."""
    parts = sorted(
        recipe.WeightedIngredient(
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
            help="another version of Stockpot started the run: use the same version everywhere",
            exit_code=ExitCode.BAD_RUN_SPEC,
        )


def _base_digest(spec: MergeRun, store: ObjectStore, scratch: Path) -> Digest:
    if spec.base.digest is not None:
        return Digest(spec.base.digest)
    return open_base(spec.base, store, scratch).digest


def _find_finished(store: ObjectStore, folder_key: str, spec: MergeRun) -> Manifest | None:
    """Find the finished revision; None if its file is gone or has another size: merge it again."""
    manifest = find_complete(store, folder_key)
    if manifest is None:
        return None
    base = spec.base.digest
    if manifest.recipe_digest != spec.recipe_digest or base not in (None, manifest.base_digest):
        raise Refused(
            f"{folder_key} holds the recipe {manifest.recipe_digest} of the base "
            f"{manifest.base_digest}; the run is for {spec.recipe_digest} of {base}",
            help="delete that folder in the store to have it merged again",
            exit_code=ExitCode.BAD_WEIGHTS,
        )
    return manifest


def _keep_sums(
    store: ObjectStore, keys: Keys, soup_uid: str, made: MergedSoup, path: Path, revision: Manifest
) -> None:
    """Keep the sums beside the published revision. A failure is logged: sums are only a cache."""
    keep = {made.sums_used} if made.sums_used else set()
    try:
        if made.seal is not None:
            uids = {pair.shard for pair in revision.lineage}
            refuse_forgotten(store, keys, uids, revision.lineage)
            folder_key = keys.accumulator(soup_uid, str(revision.recipe_digest))
            publish_sums(store, folder_key, path, made.seal, revision)
            keep.add(folder_key)
        retire(store, keys, soup_uid, keep)
    except StockpotError as error:
        log.warning("sums are not kept, or older ones not deleted", why=error.message)


def _manifest(spec: MergeRun, base: Digest) -> Manifest:
    return Manifest(
        kind=ArtefactKind.REVISION,
        lineage=lineage_of(spec.parts),
        base_digest=base,
        recipe_digest=spec.recipe_digest,
        parts=spec.parts,
        made_by=f"stockpot {__version__}",
        facts={"parts": str(len(spec.parts))},
    )


def _finished(manifest: Manifest, made: MergedSoup, seconds: float, pixels: int | None) -> Manifest:
    weights = made.weights
    facts = {"seconds": f"{seconds:.1f}", "way": made.way, "readBytes": str(made.read_bytes)}
    if pixels:
        facts["pixelsPerLatent"] = str(pixels)
    return manifest.model_copy(
        update={
            "digest": weights.digest,
            "size_bytes": weights.size_bytes,
            "tensors": weights.facts,
            "facts": {**manifest.facts, **facts},
        }
    )


def _result(manifest: Manifest, *, reused: bool) -> MergeResult:
    read_bytes, pixels = manifest.facts.get("readBytes"), manifest.facts.get("pixelsPerLatent")
    return MergeResult(
        reused=reused,
        weights_digest=manifest.digest or "",
        size_bytes=manifest.size_bytes,
        recipe_digest=manifest.recipe_digest or "",
        base_digest=manifest.base_digest or "",
        seconds=manifest.facts.get("seconds"),
        way=manifest.facts.get("way"),
        read_bytes=int(read_bytes) if read_bytes else None,
        pixels_per_latent=int(pixels) if pixels else None,
    )
