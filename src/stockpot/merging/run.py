"""The verb: make the soup of a recipe, and put it into the store with its lineage.

Memory is bounded, whatever the model and however many ingredients: they are read side by side in
blocks, and the soup goes straight into the store, without a file in between. Its lineage stands
there before its first byte, and what it is called by, its digest, when the last one is written.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from stockpot.merging.checkpoints import of_sources, own_files
from stockpot.merging.engine import MergeSettings, Target
from stockpot.merging.formats import OUTPUTS
from stockpot.merging.kernel import installed
from stockpot.merging.recipes import Desk, Soup, averaged, make
from stockpot.merging.targets import store_target
from stockpot.metrics.progress import Progress
from stockpot.process.cpu_limit import cores
from stockpot.store.artefacts import begin, find_complete, finish, sweep
from stockpot.store.base import open_base
from stockpot.store.keys import SUMS, WEIGHTS, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import opened
from stockpot.store.receipts import chain_head
from stockpot.store.tombstones import refuse_forgotten

log = structlog.get_logger()


def run(spec: MergeRun, *, work: Path, progress: Progress, stop: threading.Event) -> MergeResult:
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
    pairs = [LineagePair(shard=o.shard_uid, training_key=o.training_key) for o in spec.parts]
    _require_own_digest(spec)
    refuse_forgotten(store, keys, shards, pairs)
    folder_key = keys.revision(spec.soup.uid, spec.recipe_digest)
    found = _find_made(store, folder_key, spec)
    if found is not None:
        return _result(found, reused=True)

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
        desk = Desk(soup, scratch / SUMS, OUTPUTS[spec.output], settings, progress, stop)
        if spec.parts:
            base = _base_digest(spec, store, scratch)
            uid, digest = spec.soup.uid, spec.recipe_digest
            made = make(store, keys, uid, digest, spec.parts, base, desk)
        else:
            opened_base = open_base(spec.base, store, scratch)
            base = opened_base.digest
            with own_files(), opened(opened_base.unet_weights) as source:
                only = of_sources(source.name, [source])
                weights, _ = averaged([only], [1], desk)
                made = Soup(weights, MergeWay.FROM_SCRATCH, source.size_bytes)
        finished = _finished(_manifest(spec, base), made, time.monotonic() - began_s)
        head = chain_head(store, keys, spec.soup.uid)
        # Who takes the receipts away has to take away what was made after them, too.
        finished = finished.model_copy(update={"chain": head if head.sequence else None})
        manifest = finish(store, folder_key, finished)
        if spec.parts:
            _keep_sums(store, keys, spec.soup.uid, made, desk.sums, manifest)
        return _result(manifest, reused=False)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _require_own_digest(spec: MergeRun) -> None:
    """Refuse a recipe under another's name: it would be served as that one."""
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


def _keep_sums(
    store: ObjectStore, keys: Keys, soup_uid: str, made: Soup, path: Path, revision: Manifest
) -> None:
    """Keep the sums beside the revision, which is published: all is well without them too."""
    keep = {made.went_by} if made.went_by else set()
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


def _finished(manifest: Manifest, made: Soup, seconds: float) -> Manifest:
    weights = made.weights
    facts = {"seconds": f"{seconds:.1f}", "way": made.way, "readBytes": str(made.read_bytes)}
    return manifest.model_copy(
        update={
            "digest": weights.digest,
            "size_bytes": weights.size_bytes,
            "tensors": weights.facts,
            "facts": {**manifest.facts, **facts},
        }
    )


def _result(manifest: Manifest, *, reused: bool) -> MergeResult:
    read_bytes = manifest.facts.get("readBytes")
    return MergeResult(
        reused=reused,
        weights_digest=manifest.digest or "",
        size_bytes=manifest.size_bytes,
        recipe_digest=manifest.recipe_digest or "",
        base_digest=manifest.base_digest or "",
        seconds=manifest.facts.get("seconds"),
        way=manifest.facts.get("way"),
        read_bytes=int(read_bytes) if read_bytes else None,
    )
