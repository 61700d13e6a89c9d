"""The kind UnlearningReceipt: the record of an unlearning."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from stockpot.api.model import (
    DigestString,
    Model,
    Timestamp,
    immutable,
)
from stockpot.api.v1alpha1.common import API_VERSION, ObjectMeta, UidRef


class Completeness(StrEnum):
    """Whether the receipt confirms every removal."""

    COMPLETE = "Complete"
    INCOMPLETE = "Incomplete"
    """The receipt names what is not confirmed; the shard stays until a receipt is Complete."""


class Scope(StrEnum):
    """What a receipt covers."""

    SHARD = "Shard"
    """Everything that was ever made from the shard."""
    RECORDS = "Records"
    """One training of the shard, with records that were removed from it; the shard lives on."""


class Successor(Model):
    """The revision that serves without the shard."""

    recipe_digest: DigestString
    weights_digest: DigestString


MOST_SURVIVING = 16


class SurvivingShard(Model):
    """A shard that has records of the unlearned one, and goes on teaching them."""

    uid: str
    name: str = ""
    records: Annotated[int, Field(ge=1)]


class UnlearningReceiptSpec(Model):
    """What was unlearned, and where the signed receipt is stored."""

    soup_ref: UidRef
    shard: UidRef
    """The shard; for the scope Records with a UID of its own, which begins with the shard's."""
    scope: Scope = Scope.SHARD
    sequence: Annotated[int, Field(ge=1)]
    """Position in the soup's chain of receipts."""
    digest: DigestString
    """Digest of the signed envelope in the store."""
    previous: DigestString | None = None
    """Digest of the previous receipt in the chain; unset for the first."""
    requested_at: Timestamp
    signed_at: Timestamp | None = None
    successor: Successor | None = None
    store_key: Annotated[str, Field(max_length=1024)]
    """Key of the signed envelope in the store."""
    completeness: Completeness = Completeness.COMPLETE
    residuals: Annotated[int, Field(ge=0)] = 0
    """Number of objects left in the store: of unknown lineage, or kept by an object lock."""
    missing: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=16)
    ] = ()
    """What could not be confirmed: servers and runs that did not answer by the deadline."""
    source_digest: DigestString | None = None
    """Digest of the DataShard's source: data from there is not learnt again by accident."""
    data_digest: DigestString | None = None
    """Digest of the records: the same records are not learnt again by accident."""
    kept_digests: int | None = None
    """Number of keyed digests of its records that are kept, so that they come back only by name.

    Unset if there is no list of its records: then only the same data set is recognised.
    """
    survives_in: Annotated[tuple[SurvivingShard, ...], Field(max_length=MOST_SURVIVING)] = ()
    """Shards that had records of it and went on teaching them, those with the most first."""
    survives_in_count: Annotated[int, Field(ge=0)] = 0
    """Number of these shards."""
    finalizer_removed: bool = False
    """Whether the object was gone before it was unlearned, because its finalizer was removed."""


class UnlearningReceipt(Model):
    """The record of an unlearning. Written once by Stockpot; it outlives the shard."""

    PLURAL: ClassVar[str] = "unlearningreceipts"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["UnlearningReceipt"] = "UnlearningReceipt"
    metadata: ObjectMeta
    spec: Annotated[UnlearningReceiptSpec, immutable("a receipt is written once")]
