"""One DataShard that lives: what it is to be trained on, and what its training came to."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from stockpot.api.omissions import Omissions
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, shards_in
from stockpot.core.runs import Run


@dataclass(frozen=True)
class TrainingOutcome:
    """What a shard's training came to."""

    key: Digest
    weights: Digest
    at: datetime
    base: Digest
    data: Digest
    records: int
    left_out: frozenset[str] = frozenset()
    """Records that it was made without, as the shard's `excludeRecords` named them."""
    omissions: Omissions = ()
    """What of the data was not used exactly as given."""


@dataclass(frozen=True)
class Shard:
    """One DataShard of the soup."""

    uid: ShardUID
    name: str
    request: Digest
    """What is asked for: names its training."""
    weight: Fraction = Fraction(1)
    included: bool = True
    alive: bool = True
    """Not being deleted."""
    held: bool = False
    """It has our finalizer, so that it cannot go before it is forgotten."""
    leaving: bool = False
    """Its object is being deleted. Of one that expired the object stays, though it is not alive."""
    is_lost: bool = False
    """Its object went before it was unlearned: somebody took the finalizer away."""
    is_forced: bool = False
    """Its object may go at once: somebody who may asks for it, or did."""
    is_noted: bool = False
    """The Soup has written down what is to be unlearned when its object is gone."""
    requested_at: datetime | None = None
    """When its deletion was recorded: from then on it is tombstoned."""
    expires_at: datetime | None = None
    """When it is to be unlearned, though nobody deletes it."""
    incomplete: int = 0
    """How many receipts of it said that something is missing."""
    last_receipt: int = 0
    """The sequence of its last one; 0 where there is none."""
    receipt_digest: Digest | None = None
    """Digest of its last receipt, once its status says that that one is Complete."""
    source: Digest | None = None
    """Of the place that its data is read from."""
    data: Digest | None = None
    """Of its records, as declared or as read."""
    relearn: str = ""
    """The receipt of earlier data that may come back."""
    trained: TrainingOutcome | None = None
    leave_out: frozenset[str] = frozenset()
    """Records that it is to be trained without."""
    forgot: frozenset[str] = frozenset()
    """Records that it was told to forget, and that are not learnt again."""
    records_asked_at: datetime | None = None
    """When it was noted that records are to leave it; None again once they do for good."""
    former: Ingredient | None = None
    """This is not a shard but one training of it, with records that left it: it is unlearned."""
    successor: str = ""
    """Of the same: how the names of those runs begin that train the shard without them."""

    @property
    def goes_by_force(self) -> bool:
        """Whether its object is still there, and is to go before it is unlearned."""
        return self.is_forced and not self.is_lost

    @property
    def leaving_records(self) -> frozenset[str]:
        """Records that are to leave it: something that was made with them may lie there.

        Of a shard that has no ingredient nobody knows what was written before that was asked.
        """
        gone = self.trained.left_out if self.trained else self.forgot
        return self.leave_out - gone if self.alive else frozenset()

    @property
    def stale(self) -> Ingredient | None:
        """What was trained with records that are to leave it: out of every soup at once."""
        if self.trained is None or not self.leaving_records:
            return None
        return Ingredient(self.uid, self.trained.key)

    @property
    def usable(self) -> TrainingOutcome | None:
        """What its training came to, where that may be in a soup."""
        return None if self.stale else self.trained

    @property
    def put_back(self) -> frozenset[str]:
        """Records that it is told to be trained with though they were left out for good."""
        left_out = self.trained.left_out if self.trained else frozenset()
        return frozenset() if self.former else (self.forgot | left_out) - self.leave_out

    @property
    def ingredient(self) -> Ingredient | None:
        """What it puts into a soup."""
        return Ingredient(self.uid, self.usable.key) if self.usable else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether any training of it is part of that; of a former one, whether it is."""
        if self.former:
            return self.former in lineage
        return self.uid in shards_in(lineage)

    def may_be_written_by(self, run: Run) -> bool:
        """Whether a run may write something of it."""
        if self.former is None or self.is_in(run.lineage):
            return self.is_in(run.lineage)
        # A training whose key is not known yet, unless it is of what is asked for now.
        any_key = Ingredient(self.former.shard, Digest(""))
        return any_key in run.lineage and not run.name.startswith(self.successor)
