"""The manifest beside every artefact in the store: its kind, digests and lineage.

An object in the store without a manifest has no known lineage, and so does not count as clean.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stockpot.api.chain import ChainHead
from stockpot.api.model import DigestString, Model
from stockpot.api.omissions import Omissions


class ArtefactKind(StrEnum):
    """The kind of an artefact."""

    TRAINING = "Training"
    """An unfinished training: checkpoints, cached latents and embeddings."""
    INGREDIENT = "Ingredient"
    REVISION = "Revision"
    EVALUATION = "Evaluation"
    ACCUMULATOR = "Accumulator"
    """The exact sums of a recipe, from which the next recipe is merged. A cache."""
    COMMITMENTS = "Commitments"
    """The salts of commitments to a shard's records, kept until the purge."""


class IngredientForm(StrEnum):
    """What the weights file of an ingredient holds."""

    WEIGHTS = "Weights"
    """Every tensor of the denoiser."""
    LORA = "LoRA"
    """Factors of low rank, in diffusers' format and fp32, with the scale in the second one."""


class MergeWay(StrEnum):
    """How a revision was merged; its bytes are the same either way."""

    FROM_SCRATCH = "FromScratch"
    """The merge read all ingredients."""
    INCREMENTAL = "Incremental"
    """The merge read the sums of another recipe, and the ingredients that changed."""


class LineagePair(Model):
    """One training of one shard: the unit that lineage is made of."""

    shard: str
    """The UID of the DataShard."""
    training_key: str = ""
    """Empty until the pod has computed it; an empty key stands for any training of the shard."""


class RecipePart(Model):
    """An ingredient of a recipe, with its weight."""

    shard_uid: str
    training_key: DigestString
    weights_digest: DigestString
    weight: Annotated[int, Field(ge=1)]
    """The weight relative to the other parts; integers without a common factor."""


class TensorFacts(Model):
    """The properties of a weights file that admission checks without reading the file."""

    count: int
    parameters: int
    dtype: str
    """The safetensors data type: `F16`, `BF16` or `F32`."""
    layout: DigestString
    """Digest of all (key, dtype, shape), sorted by key; equal layouts can be averaged."""
    largest: str
    """The largest magnitude of any element, as a hexadecimal float (`0x1.8p+3`): exact."""


class Manifest(Model):
    """The description of one artefact, beside it as `manifest.json`."""

    version: int = 1
    kind: ArtefactKind
    lineage: tuple[LineagePair, ...] = ()
    base_digest: DigestString | None = None
    digest: DigestString | None = None
    """Digest of the weights file; for an accumulator its seal; unset for other kinds."""
    size_bytes: int = 0
    form: IngredientForm = Field(
        default=IngredientForm.WEIGHTS,
        exclude_if=lambda form: form is IngredientForm.WEIGHTS,
    )
    """What an ingredient's weights file holds; left out for whole weights."""
    files: tuple[str, ...] = ()
    """The names below the artefact's folder, sorted; empty until all files are written."""
    tensors: TensorFacts | None = None
    data_digest: DigestString | None = None
    records: int | None = None
    recipe_digest: DigestString | None = None
    parts: tuple[RecipePart, ...] = ()
    """The parts that a revision averages, or an accumulator adds up; they make it reproducible."""
    request: DigestString | None = None
    """Digest of the request that a training or ingredient was made for."""
    chain: ChainHead | None = None
    """The end of the soup's receipt chain when a revision was made; unset before the first."""
    left_out: int | None = Field(default=None, exclude_if=lambda count: not count)
    """How many records a training or ingredient was to leave out; unset for 0."""
    training_semantics: int | None = None
    """Version of the meaning of the training fields; part of the training key."""
    shard_name: str = ""
    """The name of an ingredient's shard, for people; lineage uses the UID."""
    made_by: str = ""
    """The program and its version. Never part of a digest: an upgrade retrains nothing."""
    omissions: Omissions = Field(default=(), exclude_if=lambda omissions: not omissions)
    """Pictures and captions of an ingredient that were not used exactly as given.

    Left out if there are none, so that older versions can read such manifests.
    """
    facts: dict[str, str] = Field(default_factory=dict)
    """Figures for people: final loss, steps, seconds."""
