"""One DataShard that is learnt: what it is trained on, and the result of its training."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from stockpot.api.omissions import Omissions
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, shards_in


@dataclass(frozen=True)
class TrainingOutcome:
    """Result of training a shard."""

    key: Digest
    weights: Digest
    at: datetime
    base: Digest
    data: Digest
    records: int
    left_out: frozenset[str] = frozenset()
    """Records that were excluded from the training, as the shard's `excludeRecords` named them."""
    omissions: Omissions = ()
    """Files, images and captions that were not used exactly as given."""


@dataclass(frozen=True)
class Shard:
    """One DataShard that is neither deleted nor expired."""

    uid: ShardUID
    name: str
    request: Digest
    """Digest of what its training depends on; names the training runs."""
    weight: Fraction = Fraction(1)
    included: bool = True
    held: bool = False
    """It has our finalizer, so that its object cannot go before it is unlearned."""
    expires_at: datetime | None = None
    """When it is unlearned without being deleted."""
    source: Digest | None = None
    """Digest of the place that its data is read from."""
    data: Digest | None = None
    """Digest of its records, as declared or as read."""
    relearn: str = ""
    """Name of the receipt of data that was unlearned before and may be trained on again."""
    trained: TrainingOutcome | None = None
    excluded_records: frozenset[str] = frozenset()
    """Records that it is trained without, now (`spec.excludeRecords`)."""
    forgotten_records: frozenset[str] = frozenset()
    """Records that were excluded for good and are not trained on again (`status.leftOut`)."""
    records_asked_at: datetime | None = None
    """When the removal of records was recorded; None again once they have left for good."""

    @property
    def leaving_records(self) -> frozenset[str]:
        """Records that are to leave the shard: artifacts may exist that were trained on them.

        Without an ingredient it is unknown what was written before the records were named.
        """
        return self.excluded_records - (
            self.trained.left_out if self.trained else self.forgotten_records
        )

    @property
    def outdated_ingredient(self) -> Ingredient | None:
        """The ingredient that was trained on records which are to leave: no soup may have it."""
        if self.trained is None or not self.leaving_records:
            return None
        return Ingredient(self.uid, self.trained.key)

    @property
    def usable_training(self) -> TrainingOutcome | None:
        """The result of its training, where that may be in a soup."""
        return None if self.outdated_ingredient else self.trained

    @property
    def readded_records(self) -> frozenset[str]:
        """Records that the spec no longer excludes, though they were excluded for good."""
        left_out = self.trained.left_out if self.trained else frozenset()
        return (self.forgotten_records | left_out) - self.excluded_records

    @property
    def ingredient(self) -> Ingredient | None:
        """The ingredient that it adds to a soup."""
        return Ingredient(self.uid, self.usable_training.key) if self.usable_training else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether a lineage has any training of the shard."""
        return self.uid in shards_in(lineage)
