"""One DataShard that lives: what it is to be trained on, and what its training came to."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from stockpot.api.omissions import Omissions
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, shards_in


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
    """One DataShard that is learnt, as far as it is not deleted or expired."""

    uid: ShardUID
    name: str
    request: Digest
    """What is asked for: names its training."""
    weight: Fraction = Fraction(1)
    included: bool = True
    held: bool = False
    """It has our finalizer, so that it cannot go before it is forgotten."""
    expires_at: datetime | None = None
    """When it is to be unlearned, though nobody deletes it."""
    source: Digest | None = None
    """Of the place that its data is read from."""
    data: Digest | None = None
    """Of its records, as declared or as read."""
    relearn: str = ""
    """The receipt of earlier data that may come back."""
    trained: TrainingOutcome | None = None
    excluded_records: frozenset[str] = frozenset()
    """Records that it is to be trained without."""
    forgotten_records: frozenset[str] = frozenset()
    """Records that it was told to forget, and that are not learnt again."""
    records_asked_at: datetime | None = None
    """When it was noted that records are to leave it; None again once they do for good."""

    @property
    def leaving_records(self) -> frozenset[str]:
        """Records that are to leave it: something that was made with them may lie there.

        Of a shard that has no ingredient nobody knows what was written before that was asked.
        """
        return self.excluded_records - (
            self.trained.left_out if self.trained else self.forgotten_records
        )

    @property
    def outdated_ingredient(self) -> Ingredient | None:
        """What was trained with records that are to leave it: out of every soup at once."""
        if self.trained is None or not self.leaving_records:
            return None
        return Ingredient(self.uid, self.trained.key)

    @property
    def usable_training(self) -> TrainingOutcome | None:
        """What its training came to, where that may be in a soup."""
        return None if self.outdated_ingredient else self.trained

    @property
    def readded_records(self) -> frozenset[str]:
        """Records that it is told to be trained with though they were left out for good."""
        left_out = self.trained.left_out if self.trained else frozenset()
        return (self.forgotten_records | left_out) - self.excluded_records

    @property
    def ingredient(self) -> Ingredient | None:
        """What it puts into a soup."""
        return Ingredient(self.uid, self.usable_training.key) if self.usable_training else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether any training of it is part of that."""
        return self.uid in shards_in(lineage)
