"""What stands beside every artefact in the store: what it is, and what it was made from.

An object in the store that lies under no manifest has no known lineage, and what is unknown
is not clean.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stockpot.api.chain import ChainHead
from stockpot.api.model import DigestString, Model
from stockpot.api.omissions import Omissions


class ArtefactKind(StrEnum):
    """What an artefact is."""

    TRAINING = "Training"
    """A training under way: checkpoints, cached latents and embeddings."""
    INGREDIENT = "Ingredient"
    REVISION = "Revision"
    EVALUATION = "Evaluation"
    ACCUMULATOR = "Accumulator"
    """The exact sums of a recipe, from which the next one is merged. A cache."""
    COMMITMENTS = "Commitments"
    """The salts of commitments to a shard's records: until the purge."""


class MergeWay(StrEnum):
    """How a revision was merged; its bytes are the same either way."""

    FROM_SCRATCH = "FromScratch"
    """All ingredients were read."""
    INCREMENTAL = "Incremental"
    """The sums of another recipe were, and the ingredients that changed."""


class LineagePair(Model):
    """One training of one shard: the unit that lineage is made of."""

    shard: str
    """The UID of the DataShard."""
    training_key: str = ""
    """Empty while the pod has not computed it: then it stands for any training of the shard."""


class RecipePart(Model):
    """One ingredient of a recipe."""

    shard_uid: str
    training_key: DigestString
    weights_digest: DigestString
    weight: Annotated[int, Field(ge=1)]
    """Relative to the other parts': the recipe's weights are integers without a common factor."""


class TensorFacts(Model):
    """What admission needs to know of weights without reading them."""

    count: int
    parameters: int
    dtype: str
    """`F16`, `BF16` or `F32`, as safetensors says it."""
    layout: DigestString
    """Over all (key, dtype, shape), sorted by key: files with the same one can be averaged."""
    largest: str
    """The largest magnitude of any element, as a hexadecimal float (`0x1.8p+3`): exact."""


class Manifest(Model):
    """The description of one artefact, beside it as `manifest.json`."""

    version: int = 1
    kind: ArtefactKind
    lineage: tuple[LineagePair, ...] = ()
    base_digest: DigestString | None = None
    digest: DigestString | None = None
    """Of the weights file; of an accumulator its seal; none for what has neither."""
    size_bytes: int = 0
    files: tuple[str, ...] = ()
    """The names below the artefact's folder, sorted; none until they are all there."""
    tensors: TensorFacts | None = None
    data_digest: DigestString | None = None
    records: int | None = None
    recipe_digest: DigestString | None = None
    parts: tuple[RecipePart, ...] = ()
    """Of a revision: what was averaged, so that anybody can average it again. Of an accumulator:
    what was added up."""
    request: DigestString | None = None
    """Of a training or ingredient: what was asked for, when it was made."""
    chain: ChainHead | None = None
    """Of a revision: where its soup's receipts ended when it was made; none before the first."""
    left_out: int | None = Field(default=None, exclude_if=lambda count: not count)
    """Of a training or ingredient: how many records it was asked to leave out, where it was any."""
    training_semantics: int | None = None
    """Which meaning of the training fields made it: part of the training key."""
    shard_name: str = ""
    """Of an ingredient: what people call its shard. Its lineage goes by UID."""
    made_by: str = ""
    """The program and its version. Never part of a digest: an upgrade retrains nothing."""
    omissions: Omissions = Field(default=(), exclude_if=lambda omissions: not omissions)
    """Of an ingredient: what of its pictures and captions was not used exactly as given.

    Written only where there is any: versions that do not know it read all other manifests.
    """
    facts: dict[str, str] = Field(default_factory=dict)
    """Figures for people: final loss, steps, seconds."""
