"""The mean of ingredients some of which are LoRAs: each is folded into the base while it is read.

The mean is that of whole models of fp32, rounded once; `lora_fusion` defines what a folded model
is. A LoRA is a small part of a model, so no sums are kept: a merge reads the base once, and the
factors of every ingredient.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stockpot.api.manifest import IngredientForm, MergeWay, RecipePart
from stockpot.core.digests import PREFIX, Digest
from stockpot.merging.checkpoints import OpenCheckpoint, read_checkpoint
from stockpot.merging.formats import FORMATS
from stockpot.merging.ingredients import OpenIngredient, open_ingredient
from stockpot.merging.lora import modules_of
from stockpot.merging.lora_fusion import WideWeights, folded_checkpoint
from stockpot.merging.recipes import MergeContext, MergedSoup, write_mean
from stockpot.store.artefacts import read_manifest
from stockpot.store.base import open_denoiser
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.ranges import blocks

HASHED_BYTES = 8 << 20


def has_lora(store: ObjectStore, keys: Keys, parts: Sequence[RecipePart]) -> bool:
    """Whether an ingredient of a recipe is a LoRA."""
    return any(_form(store, keys, part) is IngredientForm.LORA for part in parts)


def make_folded(
    store: ObjectStore,
    keys: Keys,
    parts: Sequence[RecipePart],
    base: Digest,
    base_folder: Path,
    context: MergeContext,
) -> MergedSoup:
    """Make the soup of a recipe with LoRAs in it.

    Args:
        store: Holds the ingredients.
        keys: The keys of the soup's namespace.
        parts: The parts of the recipe, at least one.
        base: The base that all ingredients were trained from.
        base_folder: The base, admitted.
        context: Outputs, settings and progress.

    Raises:
        Refused: An ingredient is missing, has another digest than the recipe names, or does not fit
            the base; or an element is too large for the output (exit 46).
    """
    # The bytes do not depend on the order; sorted, errors name the same part each time.
    ordered = sorted(parts, key=lambda part: (part.weights_digest, part.weight))
    with ExitStack() as stack:
        sources = open_denoiser(base_folder, stack)
        foundation = WideWeights(read_checkpoint(sources[0].name, sources))
        opened = [open_ingredient(store, keys, part, base) for part in ordered]
        checkpoints = [
            _folded(foundation, ingredient, _form(store, keys, part))
            for part, ingredient in zip(ordered, opened, strict=True)
        ]
        weights, _ = write_mean(checkpoints, [part.weight for part in ordered], context)
    read_bytes = sum(
        source.size_bytes
        for source in (*sources, *(s for each in opened for s in each.checkpoint.sources))
    )
    return MergedSoup(weights, MergeWay.FROM_SCRATCH, read_bytes)


def _form(store: ObjectStore, keys: Keys, part: RecipePart) -> IngredientForm:
    manifest = read_manifest(store, keys.ingredient(part.shard_uid, part.training_key))
    return manifest.form if manifest else IngredientForm.WEIGHTS


def _folded(base: WideWeights, ingredient: OpenIngredient, form: IngredientForm) -> OpenCheckpoint:
    given = ingredient.checkpoint
    # Blocks of it are read in no order, so its digest is not known on the way.
    ingredient.require_digest(_digest_of(given))
    if form is IngredientForm.WEIGHTS:
        return folded_checkpoint(given.name, WideWeights(given), (), given)
    modules = modules_of(
        given.name,
        {key: shape for key, _, shape in given.tensors},
        {key: shape for key, dtype, shape in base.checkpoint.tensors if dtype in FORMATS},
        None,
    )
    return folded_checkpoint(given.name, base, modules, given)


def _digest_of(given: OpenCheckpoint) -> Digest:
    sha256 = hashlib.sha256()
    for source in given.sources:
        for block in blocks(source, 0, source.size_bytes, HASHED_BYTES):
            sha256.update(block)
    return Digest(PREFIX + sha256.hexdigest())
