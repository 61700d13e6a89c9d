"""The kind DataShard: a data set that is trained when applied and unlearned when deleted."""

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from stockpot.api.conditions import Conditions
from stockpot.api.model import (
    DecimalString,
    DigestString,
    Instant,
    Model,
    Rule,
    Timestamp,
    immutable,
)
from stockpot.api.omissions import Omissions
from stockpot.api.source import Source
from stockpot.api.states import StateName
from stockpot.api.v1alpha1.common import (
    API_VERSION,
    OPTIONAL_NAMES,
    NamedRef,
    ObjectMeta,
    RetriedStatus,
)


class Inclusion(StrEnum):
    """Whether the shard is in the soup."""

    INCLUDED = "Included"
    EXCLUDED = "Excluded"
    """The shard is out of the soup, reversibly: its ingredient stays, without a receipt."""


MOST_EXCLUDED = 500
RecordName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""A picture's path inside the data folder, as `shard.tar/000.jpg` in a tar; or the digest of the
picture's file (`sha256:…`)."""
RecordNames = Annotated[tuple[RecordName, ...], Field(max_length=MOST_EXCLUDED)]


class DataShardSpec(Model):
    """The data of the shard, and how it joins the soup."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.excludeRecords) || self.excludeRecords.all(name, !name.startsWith('/') && "
            "(!name.startsWith('sha256:') || name.matches('^sha256:[0-9a-f]{64}$')))",
            "name records in excludeRecords by their path inside the data folder, without a "
            "leading /, or by digest: sha256: and 64 digits of 0-9 and a-f",
            lambda spec: all(
                re.fullmatch("sha256:[0-9a-f]{64}", name)
                if name.startswith("sha256:")
                else not name.startswith("/")
                for name in spec.exclude_records
            ),
            "excludeRecords",
        ),
    )

    soup_ref: Annotated[NamedRef, immutable("make a new DataShard for another soup")]
    """The Soup, in the same namespace, that the shard belongs to. Cannot be changed."""
    source: Annotated[Source, immutable("make a new DataShard for other data")]
    """Where the data is: a folder of images with captions, or of tar files. Cannot be changed."""
    digest: DigestString | None = None
    """The expected digest of the data; data with another digest is refused.

    If not set, the first training records the digest in the status.
    """
    exclude_records: RecordNames = ()
    """Records to unlearn: the shard leaves the soup at once and rejoins it, retrained without them.

    Each is named by its path inside the data folder, as in `file_name`, or by its file's digest.
    Copies of its picture leave with it, whatever their name and caption. The training that had them
    is purged, with a receipt of its own. A removed record cannot be added again.
    """
    weight: DecimalString = "1"
    """Weight in the mean, relative to the other shards; equal weights give the uniform soup."""
    inclusion: Inclusion = Inclusion.INCLUDED
    expire_at: Instant | None = None
    """When the shard is unlearned as if it were deleted (RFC 3339); the object stays.

    A later date does not bring an unlearned shard back: create a new DataShard.
    """
    relearn: Annotated[str, StringConstraints(pattern=OPTIONAL_NAMES, max_length=1024)] = ""
    """The name of the UnlearningReceipt of what the soup unlearned and may learn again.

    Without it a shard with such data, or with records that were unlearned in whatever shard, is
    Stalled with the reason Forgotten. Several names are separated by commas.
    """


class IngredientStatus(Model):
    """The weights trained from the shard."""

    digest: DigestString
    size_bytes: int = 0
    left_out: RecordNames = ()
    """Records that the training left out."""


class FoundRecordsStatus(Model):
    """Which of the records in excludeRecords the shard was trained on."""

    request: DigestString
    """Digest of the training without them; with other names it is another."""
    records: int | None = None
    """Number of records that the shard was trained on; unset if no list of them is stored."""
    covered: int = 0
    """Number of records that leave: all with a picture that is named."""
    unknown: Annotated[RecordNames, Field(max_length=3)] = ()
    """Up to three of the names that no record has."""
    unknown_count: int = 0


MOST_OVERLAPS = 16


class OverlapStatus(Model):
    """Records that another shard has as well, or had."""

    shard: str
    """UID of the other shard; of records that left a shard, with a dot and a key prefix."""
    records: int


class ComparisonStatus(Model):
    """What the shard has in common with other shards, when it was compared."""

    training_key: DigestString
    """The ingredient that was compared."""
    records: int | None = None
    """Number of its records; unset if no list of them can be read."""
    shared_records: int = 0
    """Number of records that any other shard had as well."""
    shared: Annotated[tuple[OverlapStatus, ...], Field(max_length=MOST_OVERLAPS)] = ()
    """The shards with the most of them."""
    shared_with: int = 0
    """Number of shards that had any of its records."""
    unread: int = 0
    """Number of shards that were not compared, because no list of their records can be read."""
    similar: Annotated[tuple[OverlapStatus, ...], Field(max_length=MOST_OVERLAPS)] = ()
    """Shards with pictures that look like some of its own, and are other files.

    Scaled or saved again, perhaps. It is a hint, by a perceptual hash, and refuses nothing.
    """
    similar_with: int = 0
    """Number of shards with such pictures."""
    returning: Annotated[tuple[OverlapStatus, ...], Field(max_length=MOST_OVERLAPS)] = ()
    """Its records that were unlearned before, by the UID of the shard that was unlearned.

    Each is counted in its last unlearning; those with the most records are listed.
    """
    returning_count: int = 0
    """Number of unlearnings that had any of its records."""
    unread_lists: int = 0
    """Number of unlearnings whose list of keyed digests cannot be read."""


class ShardTraining(Model):
    """Progress and end of the training."""

    run_name: str = ""
    phase: str = ""
    """The phase of the active run: encoding, training, publishing."""
    step: int = 0
    total_steps: int = 0
    progress_percent: int | None = None
    last_loss: str | None = None
    """The last reported loss, a decimal as a string."""
    completed_at: Timestamp | None = None


class ShardUnlearning(Model):
    """Progress of the unlearning."""

    requested_at: Timestamp
    """When the operator first observed the deletion."""
    stage: str
    """The pending stage: the first stage of the unlearning that is not reached."""
    incomplete_receipts: int = 0
    """Number of Incomplete receipts; the shard stays until one is Complete."""
    last_receipt: int = 0
    """The sequence number of the last receipt; 0 if there is none."""
    receipt_digest: DigestString | None = None
    """Digest of the last receipt, once it is Complete."""


MOST_FORMER = 16


class FormerTraining(Model):
    """A training with records that were removed: it is unlearned while the shard lives on."""

    training_key: DigestString
    """The training key; if the shard had no ingredient yet, a digest of the records' names."""
    is_known: bool = True
    """Whether the shard had an ingredient, so that the training key is known."""
    records: RecordNames
    unlearning: ShardUnlearning


class DataShardStatus(Model):
    """The observed state of the shard."""

    observed_generation: int = 0
    conditions: Conditions = ()
    state: StateName = ""
    """The state in one word, as Training, Included, Excluded or Expired; derived like conditions.
    """
    data_digest: DigestString | None = None
    """Digest of the records that the training read."""
    base_digest: DigestString | None = None
    """Digest of the base that the ingredient was trained from."""
    records: int | None = None
    """Number of records in the training."""
    omissions: Omissions = ()
    """Data that was not used exactly as given, counted by reason.

    Images that were left out or cannot be decoded, captions that were cut, files that are not
    data. The message of the condition Trained lists them; the reference of data folders explains
    the reasons.
    """
    request: DigestString | None = None
    """Deprecated: nothing writes or reads it. The name of the run has the request's digest."""
    training_key: DigestString | None = None
    """Digest of all that the ingredient's bytes depend on; its path in the store has it."""
    ingredient: IngredientStatus | None = None
    training: ShardTraining | None = None
    first_trained_at: Timestamp | None = None
    """When the shard was first trained: what is unlearned later does not keep it from the soup."""
    unlearning: ShardUnlearning | None = None
    retried: RetriedStatus | None = None
    records_asked_at: Timestamp | None = None
    """When the operator first observed that records are to be removed; unset once they are."""
    comparison: ComparisonStatus | None = None
    """What the shard has in common with other shards."""
    found_records: FoundRecordsStatus | None = None
    """Which of the records that are to be removed the shard was trained on."""
    left_out: RecordNames = ()
    """Records that were removed for good; the shard does not learn them again."""
    former: Annotated[tuple[FormerTraining, ...], Field(max_length=MOST_FORMER)] = ()
    """Trainings with removed records, until their receipt is Complete."""


class DataShard(Model):
    """A data set of a soup. Applying a DataShard trains it; deleting it unlearns it."""

    PLURAL: ClassVar[str] = "datashards"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["DataShard"] = "DataShard"
    metadata: ObjectMeta
    spec: DataShardSpec
    status: DataShardStatus = DataShardStatus()
