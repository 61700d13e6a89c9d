"""What a receipt says: an in-toto Statement whose predicate is an unlearning.

Only its form. It claims no more than what was done and seen: which objects were removed, what
serves in their place, and what each server said that it holds, after the removal.
"""

from typing import Final, Literal

from pydantic import Field

from stockpot.api.model import DigestString, Model
from stockpot.api.runspec import EndedReport, HeldReport, ObjectRef, RevisionRef
from stockpot.core.digests import PREFIX
from stockpot.unlearning.in_toto import Statement, StatementSubject
from stockpot.unlearning.residuals import NamedResidual

PREDICATE_TYPE: Final = "https://stockpot.dev/unlearning-receipt/v1"


class PurgeSummary(Model):
    """What the purge did, in short; the inventory has the lists."""

    objects: int
    bytes: int
    inventory_digest: DigestString
    residuals: int
    """Objects that were left: of unknown lineage, or kept by a lock."""


class UnlearningPredicate(Model):
    """The predicate."""

    soup: ObjectRef
    shard: ObjectRef
    """Where records left a shard that goes on, its UID, a dot, and the beginning of the key."""
    scope: Literal["Shard", "Records"] = "Shard"
    """Records: one training of the shard, with records that left it."""
    commitments: tuple[DigestString, ...] = ()
    """Of the scope Records: a salted commitment to each record. No record is named."""
    data_digest: DigestString | None = None
    training_keys: tuple[DigestString, ...] = ()
    requested_at: str
    """RFC 3339, by the clock of whoever recorded the deletion."""
    tombstoned_at: str | None = None
    """RFC 3339, as the tombstone says it."""
    stored_at: str | None = None
    """RFC 3339, by the store's clock: when the last word of the inventory was written."""
    signed_at: str
    """RFC 3339, by the clock of whoever signed."""
    successor: RevisionRef | None = None
    """What serves without the shard; none where nothing serves any more."""
    successor_manifest: DigestString | None = None
    """Of the bytes of the successor's manifest: its recipe, parts and weights with it."""
    tainted: tuple[DigestString, ...] = ()
    """The recipes that were made with the shard, and removed with it."""
    purge: PurgeSummary
    residuals: tuple[NamedResidual, ...] = ()
    """What the purge could not reach, or only in part. Receipts from before say nothing of it."""
    servers: tuple[HeldReport, ...] = ()
    """What each server said that it holds, asked after the purge."""
    ended: tuple[EndedReport, ...] = ()
    """Servers that may have held something and have ended since, and how that is known."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed: servers and runs that did not answer by the deadline."""
    finalizer_removed: bool = False
    """The shard's object had gone before anything was unlearned: its finalizer was taken away."""
    sequence: int = Field(ge=1)
    """Its place in the soup's chain."""
    previous: DigestString | None = None
    """Of the bytes of the envelope before it; none for the first."""
    completeness: Literal["Complete", "Incomplete"]
    """Incomplete: there are residuals, or something could not be confirmed."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the program."""


class UnlearningStatement(Statement):
    """The in-toto Statement of a receipt, about the weights that serve without the shard."""

    predicate_type: Literal["https://stockpot.dev/unlearning-receipt/v1"] = PREDICATE_TYPE
    predicate: UnlearningPredicate


def state(unlearning: UnlearningPredicate) -> UnlearningStatement:
    """Make a statement about the weights that serve now; about the purge where none do."""
    soup, successor = unlearning.soup, unlearning.successor
    if successor is not None:
        name, digest = f"{soup.namespace}/{soup.name}", successor.weights_digest
    else:
        name, digest = f"inventory of {unlearning.shard.uid}", unlearning.purge.inventory_digest
    subject = StatementSubject(name=name, digest={"sha256": digest.removeprefix(PREFIX)})
    return UnlearningStatement(subject=(subject,), predicate=unlearning)
