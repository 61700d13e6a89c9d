"""The kind Soup: a served model, the weighted mean of its shards' models."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from stockpot.api.conditions import Conditions
from stockpot.api.model import (
    DigestString,
    Model,
    Timestamp,
    immutable,
)
from stockpot.api.server_reports import Ending
from stockpot.api.source import Source
from stockpot.api.states import StateName
from stockpot.api.training import Named, Training, WeightsDtype
from stockpot.api.v1alpha1.common import (
    API_VERSION,
    NamedRef,
    ObjectMeta,
    ObjectName,
    RetriedStatus,
)
from stockpot.api.v1alpha1.data_shard import ShardUnlearning


class Base(Source):
    """The pretrained diffusers pipeline from which every shard is trained."""

    digest: DigestString | None = None
    """The expected digest of the base; a base with another digest is refused.

    If not set, the first use records the digest in the status.
    """
    variant: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")] | None = None
    """The variant of its weights, such as `fp16`; if not set, those without one are used."""


class Merge(Model):
    """How ingredients become one model."""

    weighting: Named = Named(name="Declared")
    """How shards are weighted. Declared uses their `weight`; plugins add others.

    The entry point of plugins is `stockpot.weighting`.
    """
    output: WeightsDtype = WeightsDtype.FP16
    """The data type that the mean is rounded to, once."""


class OnOverlap(StrEnum):
    """What happens to a shard with records that other shards have as well."""

    WARN = "Warn"
    """It joins; the condition Overlaps names the shards and counts the records."""
    REFUSE = "Refuse"
    """It does not join, and is Stalled with the reason Overlaps."""


class Membership(Model):
    """When new shards join the soup. Deletions do not wait for these settings."""

    min_shards: Annotated[int, Field(ge=0, le=100_000)] = 1
    """Minimum number of trained shards; with fewer, the base is served."""
    settle_seconds: Annotated[int, Field(ge=0, le=86_400)] = 10
    """Seconds without a change before shards join, so that those applied together join together."""
    on_overlap: OnOverlap = OnOverlap.WARN
    """Whether a shard joins that has records of others: their influence outlives a deletion."""


class Evaluation(Model):
    """How each revision is evaluated. Figures inform only: they never hold up a promotion."""

    source: Source | None = None
    """Held-out records, which are in no shard."""
    suite: Annotated[tuple[Named, ...], Field(max_length=32)] = ()
    """Evaluators by name, such as heldout_loss."""


class OnLastShard(StrEnum):
    """What is served after the last shard is unlearned."""

    SERVE_BASE = "ServeBase"
    """Serve the base."""
    SCALE_TO_ZERO = "ScaleToZero"
    """Serve nothing: no server runs until a shard is in the soup again."""


class OnDeadline(StrEnum):
    """What is served while an unlearning is past its deadline. Has no effect."""

    SERVE_BASE = "ServeBase"
    """Serve the base until the remaining shards are merged."""


class Unlearning(Model):
    """How deleted shards are unlearned."""

    on_last_shard: OnLastShard = OnLastShard.SERVE_BASE
    """What is served after the last shard is unlearned: the base, or nothing."""
    deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] = 3600
    """Seconds that an unlearning waits for the merge, and for servers and runs that do not answer.

    After that it goes on without them: an Incomplete receipt names what is missing, and the shard
    stays until a Complete receipt is stored.
    """
    on_deadline: OnDeadline = OnDeadline.SERVE_BASE
    """Deprecated: has no effect. After deadlineSeconds the base is served until the merge ends."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds that requests may go on that began before the deletion."""


class Serving(Model):
    """The servers that answer requests."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Number of servers. Leave it out of manifests where an autoscaler sets it by `/scale`.

    An autoscaler names the Soup, not the Deployment below it, whose number the operator sets.
    """


class SoupSpec(Model):
    """The desired model: a base, and how shards are trained, merged, evaluated and served."""

    suspend: bool = False
    """Pause training and additions. Deletions are still carried out."""
    base: Annotated[Base, immutable("make a new Soup for another base")]
    """The pretrained pipeline. Cannot be changed: only models of one base have a mean."""
    store: Annotated[NamedRef, immutable("make a new Soup in the other store")] = NamedRef(
        name="default"
    )
    """The store of ingredients and revisions, by the admin's name for it. Cannot be changed."""
    training: Training = Training()
    merge: Merge = Merge()
    membership: Membership = Membership()
    evaluation: Evaluation = Evaluation()
    unlearning: Unlearning = Unlearning()
    serving: Serving = Serving()


class ShardCounts(Model):
    """Number of shards, by state."""

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
"""Most trainings in a Soup's status, which every round may write; the SoupRevision has all."""


class CurrentRevision(Model):
    """The promoted revision, which servers are granted."""

    name: ObjectName
    number: int
    """Number of the promotion; 0 is the base."""
    recipe_digest: DigestString
    weights_digest: DigestString
    lineage: Annotated[tuple[LineageRef, ...], Field(max_length=10_000)] = ()
    """The trainings in the revision, at most 256; the SoupRevision of this name has all."""
    members: int = 0
    """Number of trainings in the revision."""
    promoted_at: Timestamp
    epoch: int


class Served(Model):
    """Number of servers that answer with these weights."""

    weights_digest: DigestString
    pods: int


class GrantedServer(Model):
    """A server that was granted a revision, and whose end is not confirmed."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    node: Annotated[str, StringConstraints(max_length=253)] = ""
    """The node that the server runs on."""


class EndedServer(GrantedServer):
    """A server that was granted a revision, and has ended."""

    how: Ending
    """What confirmed the end."""
    seen_at: Timestamp


MOST_ENDED = 50
"""Most ended servers that are listed: receipts name those that ended during an unlearning."""
MOST_GRANTED = 2000
"""Most granted servers: twice the most replicas, for a rollout of all of them."""


class SoupServing(Model):
    """The observed state of the servers."""

    replicas: int = 0
    ready_replicas: int = 0
    selector: str = ""
    """Label selector of the servers, for an autoscaler."""
    served: Annotated[tuple[Served, ...], Field(max_length=64)] = ()
    granted: Annotated[tuple[GrantedServer, ...], Field(max_length=MOST_GRANTED)] = ()
    """Servers that may hold a revision, from before their first grant to their confirmed end."""
    ended: Annotated[tuple[EndedServer, ...], Field(max_length=MOST_ENDED)] = ()
    """Servers that ended most recently, for receipts."""


class Figure(Model):
    """One measured value."""

    metric: str
    value: str
    """The value, a decimal as a string."""


class Quality(Figure):
    """One measured value of the current revision, beside the base's."""

    baseline: str | None = None
    """The value of the base, a decimal as a string."""


class ReceiptChain(Model):
    """Number of signed receipts, and the digest of the last one."""

    count: int = 0
    head: DigestString | None = None


class Collection(Model):
    """The last rescan of the store for artifacts that a late writer wrote after their receipt."""

    number: int
    """Number of rescans."""
    at: Timestamp
    quiet: int = 0
    """Number of last rescans without a finding; each delays the next one, up to a day."""
    removed_objects: int = 0
    """Number of objects that all rescans removed."""
    unrecorded_receipts: Annotated[tuple[int, ...], Field(max_length=16)] = ()
    """Sequence numbers of receipts that the last rescan found without an UnlearningReceipt."""


MOST_LOST = 256


class LostShard(Model):
    """A shard whose object was removed before its receipt: by annotation, or by force."""

    name: str
    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    training_keys: Annotated[tuple[DigestString, ...], Field(max_length=16)] = ()
    source_digest: DigestString | None = None
    data_digest: DigestString | None = None
    is_forced: bool = False
    """Whether the force-delete annotation removed it; otherwise its finalizer was removed."""
    is_owed: bool = False
    """Whether it went with its Soup, and an UnlearningDebt has what is to be unlearned."""
    unlearning: ShardUnlearning


class SoupStatus(Model):
    """The observed state of the soup."""

    observed_generation: int = 0
    conditions: Conditions = ()
    state: StateName = ""
    """The state in one word, as Training, Merging, Serving or Stalled; derived like conditions."""
    base_digest: DigestString | None = None
    """Digest of the base at its first use; another base is refused from then on."""
    base_pixels_per_latent: int | None = None
    """Pixels along one side of a latent of the base; training.resolution is a multiple of it."""
    shards: ShardCounts = ShardCounts()
    epoch: int = 0
    """Epoch of the last promotion; servers refuse grants of a lower epoch."""
    promotions: int = 0
    """Number of promotions."""
    current_revision: CurrentRevision | None = None
    serving: SoupServing = SoupServing()
    quality: Annotated[tuple[Quality, ...], Field(max_length=64)] = ()
    receipts: ReceiptChain = ReceiptChain()
    collection: Collection | None = None
    """The last rescan of the store for artifacts of unlearned shards."""
    retried: RetriedStatus | None = None
    lost: Annotated[tuple[LostShard, ...], Field(max_length=MOST_LOST)] = ()
    """Shards whose objects were removed by force; they are unlearned all the same."""


class Soup(Model):
    """A served model, which is at any time the weighted mean of its shards' models."""

    PLURAL: ClassVar[str] = "soups"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["Soup"] = "Soup"
    metadata: ObjectMeta
    spec: SoupSpec
    status: SoupStatus = SoupStatus()
