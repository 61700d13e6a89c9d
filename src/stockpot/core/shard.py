"""One DataShard that is learnt: what it is trained on, and the result of its training."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Protocol

from stockpot.api.omissions import Omissions
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, shards_in
from stockpot.core.retry import NO_REQUEST, RetryRequest


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
class FoundRecords:
    """Which of the records that are to leave a shard it was trained on."""

    records: int | None = None
    """Number of records that the shard was trained on. None if there is no list of them."""
    covered: int = 0
    """Number of these that have a picture which was named."""
    unknown: tuple[str, ...] = ()
    """Up to three of the names that no record has."""
    unknown_count: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether a name is that of no record, or no record would be left."""
        return self.unknown_count > 0 or self.leaves_none

    @property
    def leaves_none(self) -> bool:
        """Whether every record would leave the shard."""
        return self.records is not None and 0 < self.records <= self.covered


RecordCounts = tuple[tuple[ShardUID, int], ...]
"""Shards, each with a number of records."""


class CountedRecords(Protocol):
    """A number of records of a shard, as results and statuses write it."""

    @property
    def shard(self) -> str:
        """UID of the shard."""
        ...

    @property
    def records(self) -> int:
        """The number."""
        ...


def record_counts(written: Iterable[CountedRecords]) -> RecordCounts:
    """Read numbers of records by shard, in their order."""
    return tuple((ShardUID(each.shard), each.records) for each in written)


@dataclass(frozen=True)
class Comparison:
    """Which other shards of the soup have records of a shard as well."""

    records: int | None = None
    """Number of its records. None if there is no list of them that can be read."""
    shared: RecordCounts = ()
    """The shards with the most of its records, each with the number of them."""
    shared_records: int = 0
    """Number of its records that any other shard has as well."""
    shared_with: int = 0
    """Number of shards that have any of its records."""
    unread: int = 0
    """Number of shards that have no list that can be read, so that they were not compared."""
    similar: RecordCounts = ()
    """The shards with the most pictures that look like its own and are other files."""
    similar_with: int = 0
    """Number of shards with such pictures."""
    returning: RecordCounts = ()
    """The unlearnings that had the most of its records, each with the number of them."""
    returning_count: int = 0
    """Number of unlearnings that had any of its records."""
    unread_lists: int = 0
    """Number of unlearnings whose list of records cannot be read."""


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
    relearn: frozenset[str] = frozenset()
    """Names of receipts of what was unlearned before and may be trained on again."""
    first_trained_at: datetime | None = None
    """When it was first trained: what was unlearned later on belongs to another donor."""
    trained: TrainingOutcome | None = None
    excluded_records: frozenset[str] = frozenset()
    """Records that it is trained without, now (`spec.excludeRecords`)."""
    forgotten_records: frozenset[str] = frozenset()
    """Records that were excluded for good and are not trained on again (`status.leftOut`)."""
    records_asked_at: datetime | None = None
    """When the removal of records was recorded; None again once they have left for good."""
    comparison: Comparison | None = None
    """What its ingredient has in common with others. None: it was not compared yet."""
    found_records: FoundRecords | None = None
    """What is known of the records that are to leave. None: they were not looked up yet."""
    retry: RetryRequest = NO_REQUEST
    """The request to try its failed training or comparison again."""
    is_removal_overdue: bool = False
    """Whether the removal of records was recorded longer ago than `unlearning.deadlineSeconds`."""

    @property
    def leaving_records(self) -> frozenset[str]:
        """Records that are to leave the shard: artifacts may exist that were trained on them.

        Without an ingredient it is unknown what was written before the records were named.
        """
        return self.excluded_records - (
            self.trained.left_out if self.trained else self.forgotten_records
        )

    @cached_property
    def outdated_ingredient(self) -> Ingredient | None:
        """The ingredient that was trained on records which are to leave: no soup may have it."""
        if self.trained is None or not self.leaving_records or self.awaits_found_records:
            return None
        return Ingredient(self.uid, self.trained.key)

    @property
    def awaits_found_records(self) -> bool:
        """Whether the request that records leave is not confirmed: until then it changes nothing.

        Names are looked up in the list of what the shard was trained on. Where there is no list, or
        no answer within the deadline, the shard leaves the soup all the same.
        """
        if self.trained is None or not self.leaving_records:
            return False
        if self.found_records is None:
            return not self.is_removal_overdue
        return self.found_records.is_refused

    @cached_property
    def usable_training(self) -> TrainingOutcome | None:
        """The result of its training, where that may be in a soup."""
        return None if self.outdated_ingredient else self.trained

    @property
    def readded_records(self) -> frozenset[str]:
        """Records that the spec no longer excludes, though they were excluded for good."""
        left_out = self.trained.left_out if self.trained else frozenset()
        return (self.forgotten_records | left_out) - self.excluded_records

    @property
    def taught_since(self) -> datetime | None:
        """When it was first trained. None: it never was."""
        return self.first_trained_at or (self.trained.at if self.trained else None)

    @cached_property
    def ingredient(self) -> Ingredient | None:
        """The ingredient that it adds to a soup."""
        trained = self.usable_training
        return Ingredient(self.uid, trained.key) if trained else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether a lineage has any training of the shard."""
        return self.uid in shards_in(lineage)
