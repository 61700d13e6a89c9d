"""The kind SoupRevision: the merged model of one recipe."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stockpot.api.manifest import MergeWay
from stockpot.api.model import (
    DigestString,
    Model,
    Timestamp,
    immutable,
)
from stockpot.api.omissions import Omissions
from stockpot.api.training import WeightsDtype
from stockpot.api.v1alpha1.common import API_VERSION, ObjectMeta, UidRef
from stockpot.api.v1alpha1.soup import Figure


class RevisionPart(Model):
    """One ingredient, with its weight."""

    shard: UidRef
    training_key: DigestString
    weights_digest: DigestString
    weight: Annotated[int, Field(ge=1)]
    """Weight relative to the other parts; integers without a common factor."""


class SoupRevisionSpec(Model):
    """The recipe of the revision, and its weights."""

    soup_ref: UidRef
    recipe_digest: DigestString
    parts: Annotated[tuple[RevisionPart, ...], Field(max_length=10_000)] = ()
    """The ingredients; empty for the base itself."""
    output: WeightsDtype = WeightsDtype.FP16
    weights_digest: DigestString
    size_bytes: int = 0


class RevisionMerge(Model):
    """How the revision was merged."""

    way: MergeWay
    read_bytes: Annotated[int, Field(ge=0)]
    """Bytes of ingredients and sums that were read."""


class SoupRevisionStatus(Model):
    """The observed state of the revision."""

    created_at: Timestamp | None = None
    """Deprecated: nothing reads it. See metadata.creationTimestamp."""
    merge: RevisionMerge | None = None
    """How it was merged; unset if the merge run did not report it."""
    evaluated_at: Timestamp | None = None
    """When the figures were recorded; a suite may have no figures."""
    evaluation: Annotated[tuple[Figure, ...], Field(max_length=64)] = ()
    omissions: Omissions = ()
    """Held-out records that were not used exactly as given, counted by reason."""


class SoupRevision(Model):
    """The merged model of one recipe. Written by Stockpot; its spec never changes."""

    PLURAL: ClassVar[str] = "souprevisions"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["SoupRevision"] = "SoupRevision"
    metadata: ObjectMeta
    spec: Annotated[SoupRevisionSpec, immutable("another recipe is another SoupRevision")]
    status: SoupRevisionStatus = SoupRevisionStatus()
