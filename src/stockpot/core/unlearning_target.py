"""What is to be unlearned: every training of a shard, or one training that records left.

Learning climbs shards, unlearning climbs targets. A target comes to be in one of three ways, and
its owner says which: a DataShard was deleted or expired; a DataShard went before it was unlearned;
or records left a DataShard that lives on, and the training that had them is unlearned alone. The
ladder is the same for all three. They differ in where progress is recorded (the shard's status or
the Soup's), in how the target is released, and in the trainings that `is_in` covers.
"""

from dataclasses import dataclass
from datetime import datetime

from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, shards_in
from stockpot.core.runs import Run
from stockpot.core.shard import Shard


@dataclass(frozen=True)
class ShardObject:
    """The DataShard of the target is still there: it is being deleted, or it expired."""

    shard: Shard
    is_deleted: bool = False
    """The object is being deleted. The object of a shard that expired stays."""
    is_recorded: bool = False
    """The Soup's status has recorded the target, so that the object may go before the end."""


@dataclass(frozen=True)
class LostObject:
    """The DataShard went before it was unlearned: the Soup's status stands in for it."""


@dataclass(frozen=True)
class PastTraining:
    """One training, with records that left a DataShard which lives on."""

    ingredient: Ingredient
    successor: str
    """Stem of the training run that replaces this one."""


Owner = ShardObject | LostObject | PastTraining


@dataclass(frozen=True)
class UnlearningTarget:
    """One thing to be unlearned, with a tombstone, purges and receipts of its own."""

    uid: ShardUID
    """UID of the shard; for a PastTraining that of the shard and its training key (`former_of`)."""
    name: str
    """Name of the shard, for messages."""
    owner: Owner
    requested_at: datetime | None = None
    """When the deletion was recorded. None: it is not tombstoned yet."""
    is_forced: bool = False
    """The annotation `force-delete` lets the object go before the end."""
    is_owed: bool = False
    """An UnlearningDebt has it, so that its object may go before the end."""
    incomplete: int = 0
    """How many of its receipts are Incomplete."""
    last_receipt: int = 0
    """Sequence of its last receipt; 0 where there is none."""
    receipt_digest: Digest | None = None
    """Digest of its last receipt, once the status says that this one is Complete."""

    @property
    def is_lost(self) -> bool:
        """Whether its object went before it was unlearned."""
        return isinstance(self.owner, LostObject)

    @property
    def is_being_deleted(self) -> bool:
        """Whether its object is there and waits for our finalizer to be removed."""
        return isinstance(self.owner, ShardObject) and self.owner.is_deleted

    @property
    def past_training(self) -> Ingredient | None:
        """The one training that is unlearned; None where the whole shard is."""
        return self.owner.ingredient if isinstance(self.owner, PastTraining) else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether the lineage names what is to be unlearned."""
        if isinstance(self.owner, PastTraining):
            return self.owner.ingredient in lineage
        return self.uid in shards_in(lineage)

    def may_be_written_by(self, run: Run) -> bool:
        """Whether a run may write an artefact of the target."""
        if self.is_in(run.lineage):
            return True
        if not isinstance(self.owner, PastTraining):
            return False
        # A training whose key is not known yet may be this one, unless it is the one that replaces
        # it.
        unknown_key = Ingredient(self.owner.ingredient.shard, Digest(""))
        return unknown_key in run.lineage and run.stem != self.owner.successor
