"""The four kinds of `stockpot.dev/v1alpha1`. CRDs, reference pages and lint all come from here.

Fields are here when something reads them. Users write Soup and DataShard; SoupRevision and
UnlearningReceipt are written by Stockpot, once. A spec says what is asked for and a status what
was seen: a status that is lost is found again, so no decision may rest on one alone.
"""

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from stockpot.api.conditions import Conditions
from stockpot.api.manifest import MergeWay
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
from stockpot.api.runspec import Ending
from stockpot.api.source import Source
from stockpot.api.training import Named, Training, WeightsDtype

GROUP = "stockpot.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "stockpot.dev/v1alpha1"
FINALIZER = "stockpot.dev/unlearn"
"""On every DataShard that may have left a trace: the object stays until its receipt is stored."""
FORCE_DELETE = "stockpot.dev/force-delete"
"""Annotation of a DataShard: let its object go at once. It takes the verb `force-delete`."""
MAX_NAME = 50
"""Letters in the name of a Soup or DataShard: names of Jobs and revisions are made from it."""

ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
ShortName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=MAX_NAME
    ),
]


OPTIONAL_NAME = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"


class ObjectMeta(Model):
    """What every object has, as Kubernetes names it."""

    name: ObjectName
    namespace: ObjectName = "default"
    uid: str = ""
    """Drawn when the object is stored; an object of the same name made later has another."""
    generation: int = 0
    """Counts changes of the spec."""
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    """When the deletion was asked for; the object goes once it has no finalizer."""


class NamedRef(Model):
    """Something of the same namespace, by name."""

    name: ShortName


class UidRef(Model):
    """One object, not another of the same name made later."""

    name: ObjectName
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]


# ------------------------------------------------------------------------------- DataShard


class Inclusion(StrEnum):
    """Whether the shard is in the soup."""

    INCLUDED = "Included"
    EXCLUDED = "Excluded"
    """Out of the soup, reversibly: its ingredient stays, and there is no receipt."""


MOST_EXCLUDED = 500
RecordName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""A picture's path inside the data folder, as `shard.tar/000.jpg` in a tar; or the record's digest
(`sha256:…`)."""
RecordNames = Annotated[tuple[RecordName, ...], Field(max_length=MOST_EXCLUDED)]


class DataShardSpec(Model):
    """Data that may be in the model."""

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
    """The Soup, in the same namespace, that this data may be in. Cannot be changed."""
    source: Annotated[Source, immutable("make a new DataShard for other data")]
    """Where the data is: a folder of pictures with captions, or of tars. Cannot be changed."""
    digest: DigestString | None = None
    """Refuse other data than this; where it is not set, the first training records it."""
    exclude_records: RecordNames = ()
    """Records to be unlearned: the shard leaves the soup at once, and comes back without them.

    By their path inside the data folder, as in `file_name`, or by digest. What was trained with
    them is purged, with a receipt of its own. A record that was left out stays so.
    """
    weight: DecimalString = "1"
    """This shard's part in the mean, beside the others'; all alike give the uniform soup."""
    inclusion: Inclusion = Inclusion.INCLUDED
    expire_at: Instant | None = None
    """From then on the shard is unlearned as if it were deleted; the object stays, and says so.

    RFC 3339. Once it is unlearned, a later date brings nothing back: make a new DataShard.
    """
    relearn: Annotated[str, StringConstraints(pattern=OPTIONAL_NAME, max_length=63)] = ""
    """The UnlearningReceipt, by name, of data that this soup unlearned and may learn again.

    Without it such data is Stalled, reason Forgotten: nothing comes back by accident.
    """


class IngredientStatus(Model):
    """The weights trained from the shard."""

    digest: DigestString
    size_bytes: int = 0
    left_out: RecordNames = ()
    """Records that it was made without."""


class ShardTraining(Model):
    """How far the training is, and how it ended."""

    run_name: str = ""
    phase: str = ""
    """Of a run that is under way: encoding, training, publishing."""
    step: int = 0
    total_steps: int = 0
    progress_percent: int | None = None
    last_loss: str | None = None
    """A decimal, as a string."""
    completed_at: Timestamp | None = None


class ShardUnlearning(Model):
    """How far the unlearning is."""

    requested_at: Timestamp
    """When the deletion was seen."""
    stage: str
    """The next rung: the first thing that is not yet so."""
    incomplete_receipts: int = 0
    """How many receipts said that something is missing; the shard stays until one does not."""
    last_receipt: int = 0
    """The sequence of the last receipt; 0 where there is none."""
    receipt_digest: DigestString | None = None
    """Digest of the last receipt, once that is Complete."""


MOST_FORMER = 16


class FormerTraining(Model):
    """A training that had records which left the shard: it is unlearned, and the shard lives."""

    training_key: DigestString
    """Where the shard had no ingredient yet, a digest of the records' names stands here."""
    is_known: bool = True
    """It had one."""
    records: RecordNames
    unlearning: ShardUnlearning


class DataShardStatus(Model):
    """What was seen of the shard."""

    observed_generation: int = 0
    conditions: Conditions = ()
    data_digest: DigestString | None = None
    """Of the records that were read."""
    base_digest: DigestString | None = None
    """Of the base that the ingredient was trained from."""
    records: int | None = None
    """How many were trained on."""
    omissions: Omissions = ()
    """What of the data was not used exactly as given, by reason: see the reference of data folders.

    Pictures that were left out or cannot be decoded, captions that were cut, files that are no
    data. The condition Trained says it in words.
    """
    request: DigestString | None = None
    """What was last asked to be trained: names the place of its checkpoints."""
    training_key: DigestString | None = None
    """What the ingredient's bytes depend on: names its place in the store."""
    ingredient: IngredientStatus | None = None
    training: ShardTraining | None = None
    unlearning: ShardUnlearning | None = None
    records_asked_at: Timestamp | None = None
    """When it was seen that records are to leave; none once they do for good."""
    left_out: RecordNames = ()
    """Records that left for good; none is learnt again by this shard."""
    former: Annotated[tuple[FormerTraining, ...], Field(max_length=MOST_FORMER)] = ()
    """Trainings with records that left, until their receipt is Complete."""


class DataShard(Model):
    """Data that may be in a model. Applying one trains it; deleting one unlearns it."""

    PLURAL: ClassVar[str] = "datashards"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["DataShard"] = "DataShard"
    metadata: ObjectMeta
    spec: DataShardSpec
    status: DataShardStatus = DataShardStatus()


# ------------------------------------------------------------------------------------ Soup


class Base(Source):
    """The pretrained diffusers pipeline that every shard starts from."""

    digest: DigestString | None = None
    """Refuse another base than this; where it is not set, the first use records it."""


class Merge(Model):
    """How ingredients become one model."""

    weighting: Named = Named(name="Declared")
    """Declared: by the shards' weight. Others come by the entry point `stockpot.weighting`."""
    output: WeightsDtype = WeightsDtype.FP16
    """What the mean is rounded to, once."""


class Membership(Model):
    """When additions join. A deletion waits for none of this."""

    min_shards: Annotated[int, Field(ge=0, le=100_000)] = 1
    """Serve the base until so many shards are trained."""
    settle_seconds: Annotated[int, Field(ge=0, le=86_400)] = 10
    """Wait so long after the last change, so that shards applied together join together."""


class Evaluation(Model):
    """What each revision is measured with. Figures inform; in this version they hold nothing up."""

    source: Source | None = None
    """Held-out records, which are in no shard."""
    suite: Annotated[tuple[Named, ...], Field(max_length=32)] = ()
    """Evaluators by name, as heldout_loss."""


class OnLastShard(StrEnum):
    """What is served when the last shard was unlearned."""

    SERVE_BASE = "ServeBase"
    """The base, from which nothing has to be unlearned."""
    SCALE_TO_ZERO = "ScaleToZero"
    """Nothing: the servers end, until a shard is in the soup again."""


class OnDeadline(StrEnum):
    """What is served while an unlearning takes longer than it may."""

    SERVE_BASE = "ServeBase"
    """The base, until the survivors are merged."""


class Unlearning(Model):
    """How a deletion is carried out."""

    on_last_shard: OnLastShard = OnLastShard.SERVE_BASE
    """What is served when the last shard was unlearned."""
    deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] = 3600
    """How long an unlearning waits for a merge, for servers and for runs that do not answer.

    After that it goes on without them: what is missing stands in an Incomplete receipt, and the
    shard stays until a Complete one is stored.
    """
    on_deadline: OnDeadline = OnDeadline.SERVE_BASE
    """What is served meanwhile, where the survivors are not merged by then."""

    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """How long a request that began before the deletion may go on."""


class Serving(Model):
    """Who answers requests."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1


class SoupSpec(Model):
    """A model that is the mean of its shards' models."""

    suspend: bool = False
    """Hold back training and additions; a deletion is carried out all the same."""
    base: Annotated[Base, immutable("make a new Soup for another base")]
    """The pretrained pipeline. Cannot be changed: only models of one base have a mean."""
    store: Annotated[NamedRef, immutable("make a new Soup in the other store")] = NamedRef(
        name="default"
    )
    """Where ingredients and revisions lie, as the admin named it. Cannot be changed."""
    training: Training = Training()
    merge: Merge = Merge()
    membership: Membership = Membership()
    evaluation: Evaluation = Evaluation()
    unlearning: Unlearning = Unlearning()
    serving: Serving = Serving()


class ShardCounts(Model):
    """How many shards the soup has, and how they are."""

    total: int = 0
    trained: int = 0
    included: int = 0
    failed: int = 0
    deleting: int = 0


class LineageRef(Model):
    """One training of one shard."""

    shard: str
    """The UID of the DataShard."""
    training_key: str


MOST_LINEAGE = 256
"""Of a soup's members in its status, which every round may write: its SoupRevision has them all."""


class CurrentRevision(Model):
    """The revision that servers are told to serve."""

    name: ObjectName
    number: int
    """Counts promotions of this soup; 0 is the base."""
    recipe_digest: DigestString
    weights_digest: DigestString
    lineage: Annotated[tuple[LineageRef, ...], Field(max_length=10_000)] = ()
    """What it was made from; of more than 256 the SoupRevision of this name has the others."""
    members: int = 0
    """How many trainings that is."""
    promoted_at: Timestamp
    epoch: int


class Served(Model):
    """How many servers answer with these weights."""

    weights_digest: DigestString
    pods: int


class GrantedServer(Model):
    """A server that was granted a revision, and whose end nobody has confirmed yet."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    node: Annotated[str, StringConstraints(max_length=253)] = ""
    """Where it runs."""


class EndedServer(GrantedServer):
    """A server that was granted a revision, and has ended."""

    how: Ending
    """By what that is known."""
    seen_at: Timestamp


MOST_ENDED = 50
"""Of those that ended last: a receipt says it of those that ended while something was unlearned."""
MOST_GRANTED = 2000
"""Twice the most replicas: a roll-out of all of them."""


class SoupServing(Model):
    """What the servers say."""

    replicas: int = 0
    ready_replicas: int = 0
    selector: str = ""
    """The servers' labels, for an autoscaler."""
    served: Annotated[tuple[Served, ...], Field(max_length=64)] = ()
    granted: Annotated[tuple[GrantedServer, ...], Field(max_length=MOST_GRANTED)] = ()
    """Written before a server's first grant; one leaves when its end is confirmed."""
    ended: Annotated[tuple[EndedServer, ...], Field(max_length=MOST_ENDED)] = ()
    """Those that left last, for receipts."""


class Figure(Model):
    """One measured value."""

    metric: str
    value: str
    """A decimal, as a string."""


class Quality(Figure):
    """One measured value of the current revision, beside the base's."""

    baseline: str | None = None
    """The base's."""


class ReceiptChain(Model):
    """How many unlearnings were signed, and the digest of the last receipt."""

    count: int = 0
    head: DigestString | None = None


class Collection(Model):
    """Looking for what came back of what was forgotten: a writer may wake up after the receipt."""

    number: int
    """How many times it was looked for."""
    at: Timestamp
    quiet: int = 0
    """How many of the last looks found nothing; each makes the next one later, up to a day."""
    removed_objects: int = 0
    """How much all looks found, and removed."""
    unrecorded_receipts: Annotated[tuple[int, ...], Field(max_length=16)] = ()
    """Receipts, by sequence, that the store had at the last look and that no object recorded."""


MOST_LOST = 256


class LostShard(Model):
    """A shard whose object went before its receipt: by its annotation, or its finalizer's end."""

    name: str
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    training_keys: Annotated[tuple[DigestString, ...], Field(max_length=16)] = ()
    source_digest: DigestString | None = None
    data_digest: DigestString | None = None
    is_forced: bool = False
    """Somebody who may asked for it, by an annotation; else the finalizer was taken away."""
    unlearning: ShardUnlearning


class SoupStatus(Model):
    """What was seen of the soup."""

    observed_generation: int = 0
    conditions: Conditions = ()
    base_digest: DigestString | None = None
    """Of the base as it was first used; it may not drift."""
    shards: ShardCounts = ShardCounts()
    epoch: int = 0
    """Of the last promotion; servers refuse a grant of a lower one."""
    promotions: int = 0
    """How many there were; the number of the last."""
    current_revision: CurrentRevision | None = None
    serving: SoupServing = SoupServing()
    quality: Annotated[tuple[Quality, ...], Field(max_length=64)] = ()
    receipts: ReceiptChain = ReceiptChain()
    collection: Collection | None = None
    """The last look for what came back of what was forgotten."""
    lost: Annotated[tuple[LostShard, ...], Field(max_length=MOST_LOST)] = ()
    """Shards whose objects went by force; they are unlearned all the same."""


class Soup(Model):
    """A model that is served, and is at any time the mean of its shards' models."""

    PLURAL: ClassVar[str] = "soups"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["Soup"] = "Soup"
    metadata: ObjectMeta
    spec: SoupSpec
    status: SoupStatus = SoupStatus()


# ---------------------------------------------------------------------------- SoupRevision


class RevisionPart(Model):
    """One ingredient, with its weight."""

    shard: UidRef
    training_key: DigestString
    weights_digest: DigestString
    weight: Annotated[int, Field(ge=1)]
    """Relative to the other parts': integers without a common factor."""


class SoupRevisionSpec(Model):
    """One recipe, made once."""

    soup_ref: UidRef
    recipe_digest: DigestString
    parts: Annotated[tuple[RevisionPart, ...], Field(max_length=10_000)] = ()
    """None: the base itself."""
    output: WeightsDtype = WeightsDtype.FP16
    weights_digest: DigestString
    size_bytes: int = 0


class RevisionMerge(Model):
    """What it took to make it."""

    way: MergeWay
    read_bytes: Annotated[int, Field(ge=0)]
    """Of ingredients and of sums."""


class SoupRevisionStatus(Model):
    """What was found out about it."""

    created_at: Timestamp | None = None
    merge: RevisionMerge | None = None
    """None: whoever made it did not say."""
    evaluated_at: Timestamp | None = None
    """When its figures were written down; a suite may have none."""
    evaluation: Annotated[tuple[Figure, ...], Field(max_length=64)] = ()
    omissions: Omissions = ()
    """What of the held-out records was not used exactly as given, by reason."""


class SoupRevision(Model):
    """One soup of one recipe. Written by Stockpot; its spec never changes."""

    PLURAL: ClassVar[str] = "souprevisions"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["SoupRevision"] = "SoupRevision"
    metadata: ObjectMeta
    spec: Annotated[SoupRevisionSpec, immutable("another recipe is another SoupRevision")]
    status: SoupRevisionStatus = SoupRevisionStatus()


# ----------------------------------------------------------------------- UnlearningReceipt


class Completeness(StrEnum):
    """Whether everything that was found could be accounted for."""

    COMPLETE = "Complete"
    INCOMPLETE = "Incomplete"
    """Something is missing: the receipt says what. The shard stays until one is Complete."""


class Scope(StrEnum):
    """What a receipt is about."""

    SHARD = "Shard"
    """All that was ever made from the shard."""
    RECORDS = "Records"
    """One training of a shard, with records that left it; the shard itself goes on."""


class Successor(Model):
    """What serves without the shard."""

    recipe_digest: DigestString
    weights_digest: DigestString


class UnlearningReceiptSpec(Model):
    """What was removed, and where the signed evidence lies."""

    soup_ref: UidRef
    shard: UidRef
    """For the scope Records its UID, a dot, and the beginning of the training key."""
    scope: Scope = Scope.SHARD
    sequence: Annotated[int, Field(ge=1)]
    """Its place in the soup's chain of receipts."""
    digest: DigestString
    """Of the signed envelope in the store."""
    previous: DigestString | None = None
    """Of the receipt before it in the chain; none for the first."""
    requested_at: Timestamp
    signed_at: Timestamp | None = None
    successor: Successor | None = None
    store_key: Annotated[str, Field(max_length=1024)]
    """Where in the store the envelope lies."""
    completeness: Completeness = Completeness.COMPLETE
    residuals: Annotated[int, Field(ge=0)] = 0
    """How many objects were left in the store: of unknown lineage, or kept by a lock."""
    missing: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=256)], ...], Field(max_length=16)
    ] = ()
    """What could not be confirmed: servers and runs that did not answer by the deadline."""
    source_digest: DigestString | None = None
    """Of the source as the DataShard said it: data from there is not learnt again by accident."""
    data_digest: DigestString | None = None
    """Of the records: the same records from elsewhere are not learnt again by accident."""
    finalizer_removed: bool = False
    """The object had gone before anything was unlearned: somebody took its finalizer away."""


class UnlearningReceipt(Model):
    """An unlearning that was carried out. Written by Stockpot, once; it outlives the shard."""

    PLURAL: ClassVar[str] = "unlearningreceipts"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["UnlearningReceipt"] = "UnlearningReceipt"
    metadata: ObjectMeta
    spec: Annotated[UnlearningReceiptSpec, immutable("a receipt is written once")]


AnyObject = DataShard | Soup | SoupRevision | UnlearningReceipt
KINDS: tuple[type[DataShard] | type[Soup] | type[SoupRevision] | type[UnlearningReceipt], ...] = (
    DataShard,
    Soup,
    SoupRevision,
    UnlearningReceipt,
)
