"""The format of a receipt: an in-toto Statement whose predicate is an unlearning.

It claims no more than what was done and observed: which objects were removed, what serves in their
place, and what each server reported to hold after the removal.
"""

from typing import Final, Literal

from pydantic import Field

from stockpot.api.model import DigestString, Model
from stockpot.api.runspec import ObjectRef, RevisionRef, SurvivingRecords
from stockpot.api.server_reports import EndedReport, HeldReport
from stockpot.core.digests import PREFIX
from stockpot.unlearning.in_toto import Statement, StatementSubject
from stockpot.unlearning.residuals import NamedResidual

PREDICATE_TYPE: Final = "https://stockpot.dev/unlearning-receipt/v1"


class PurgeSummary(Model):
    """The totals of a purge; the inventory has the lists."""

    objects: int
    bytes: int
    inventory_digest: DigestString
    residuals: int
    """How many objects were left: of unknown lineage, or kept by a lock."""


class UnlearningPredicate(Model):
    """The predicate of a receipt's statement."""

    soup: ObjectRef
    shard: ObjectRef
    """Where records left a shard that lives on, the UID is the shard's, a dot, and a key prefix."""
    scope: Literal["Shard", "Records"] = "Shard"
    """Records: one training of the shard, which had records that left it."""
    commitments: tuple[DigestString, ...] = ()
    """With the scope Records, a salted commitment to each record. No record is named."""
    data_digest: DigestString | None = None
    training_keys: tuple[DigestString, ...] = ()
    requested_at: str
    """RFC 3339, by the clock that recorded the deletion."""
    tombstoned_at: str | None = None
    """RFC 3339, as the tombstone has it."""
    stored_at: str | None = None
    """RFC 3339, by the store's clock: when the inventory was last written."""
    signed_at: str
    """RFC 3339, by the signer's clock."""
    successor: RevisionRef | None = None
    """The revision that serves without the shard; None where nothing serves any more."""
    successor_manifest: DigestString | None = None
    """The digest of the successor's manifest, which has its recipe, parts and weights."""
    tainted: tuple[DigestString, ...] = ()
    """The recipes that were made with the shard, and removed with it."""
    purge: PurgeSummary
    residuals: tuple[NamedResidual, ...] = ()
    """What the purge could not reach, or only in part. Receipts of the first release lack it."""
    servers: tuple[HeldReport, ...] = ()
    """What each server reported to hold, queried after the purge."""
    ended: tuple[EndedReport, ...] = ()
    """Servers that may have held something and have ended since, and how that is known."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed: servers and runs that did not answer by the deadline."""
    survives_in: tuple[SurvivingRecords, ...] = Field(default=(), exclude_if=lambda all_: not all_)
    """Living shards that have records of this one, byte for byte, and go on teaching them.

    It does not touch completeness: what was to be unlearned is this shard. Receipts of the first
    releases lack it, and so do those about records and about shards whose object was lost."""
    kept_digests: int | None = Field(default=None, exclude_if=lambda count: count is None)
    """How many keyed digests of its records are kept, so that they come back only by name.

    They are no data: without the soup's key nobody can tell which pictures they are of. None where
    no list of them is kept, as by the first releases."""
    finalizer_removed: bool = False
    """Whether the shard's object was gone before the unlearning: its finalizer was removed."""
    sequence: int = Field(ge=1)
    """Its place in the soup's chain."""
    previous: DigestString | None = None
    """The digest of the envelope before it; None for the first."""
    completeness: Literal["Complete", "Incomplete"]
    """Incomplete: there are residuals, or something could not be confirmed."""
    versions: dict[str, str] = Field(default_factory=dict)
    """The program's version."""


class UnlearningStatement(Statement):
    """The in-toto Statement of a receipt, about the weights that serve without the shard."""

    predicate_type: Literal["https://stockpot.dev/unlearning-receipt/v1"] = PREDICATE_TYPE
    predicate: UnlearningPredicate


def state(unlearning: UnlearningPredicate) -> UnlearningStatement:
    """Build a receipt's statement: about the successor's weights, or the inventory without one."""
    soup, successor = unlearning.soup, unlearning.successor
    if successor is not None:
        name, digest = f"{soup.namespace}/{soup.name}", successor.weights_digest
    else:
        name, digest = f"inventory of {unlearning.shard.uid}", unlearning.purge.inventory_digest
    subject = StatementSubject(name=name, digest={"sha256": digest.removeprefix(PREFIX)})
    return UnlearningStatement(subject=(subject,), predicate=unlearning)
