"""The input of each workload, one class for each verb, and what whoever starts it must know of it.

A RunSpec is mounted into the pod, or handed to a child process, as JSON. Its answer is in
`stockpot.api.results`. Workloads know nothing of Kubernetes.

A new verb is a class here, beside the others in RunSpec; a result; and a module in
`stockpot.workload.main`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter

from stockpot.api.chain import ChainHead
from stockpot.api.manifest import LineagePair

# A run is told parts, and the manifest that it writes says them: both find the word here.
from stockpot.api.manifest import RecipePart as RecipePart  # noqa: PLC0414
from stockpot.api.model import DigestString, Model
from stockpot.api.run_kinds import RunKind, kind_of_run
from stockpot.api.training import Named, Training, WeightsDtype

Port = Annotated[int, Field(ge=0, le=65535)]


class StoreRef(Model):
    """Which object store; credentials come from the environment, never from here."""

    url: str
    """`file:///folder`, or `s3://bucket/prefix`."""
    endpoint: str = ""
    """For S3: `http://host:port` or `https://host`."""


class Place(StrEnum):
    """What kind of place a folder is in."""

    FOLDER = "folder"
    STORE = "store"


class Location(Model):
    """A folder to read, resolved from a Source by whoever starts the run."""

    place: Place
    path: str
    """An absolute path of a mounted folder, or a prefix in the store's bucket."""


class BaseRef(Model):
    """The pretrained pipeline that all starts from."""

    location: Location
    digest: DigestString | None = None
    """Refuse other bytes; none: say in the result what they were."""


class ObjectRef(Model):
    """A Kubernetes object, or one of local mode."""

    namespace: str
    name: str
    uid: str


class _Run(Model):
    deletes: ClassVar[bool] = False
    """Whether it runs with the identity that may delete in the store and sign."""
    signs: ClassVar[bool] = False
    """Whether it needs the signing key."""
    ends: ClassVar[bool] = True
    """Whether it ends by itself: a Job; else it is a server."""
    grace_s: ClassVar[int] = 30
    """How long it may take to end when it is asked to."""
    memory_help: ClassVar[str] = ""
    """How a user makes it need less memory, to follow another clause."""

    name: str
    """Name of the run: deterministic, so that starting it twice is harmless."""
    store: StoreRef
    soup: ObjectRef

    @property
    def kind(self) -> RunKind:
        """What it does."""
        verb: str = type(self).model_fields["verb"].default
        return kind_of_run(verb, [shard.uid for shard in self.about])

    @property
    def locations(self) -> tuple[Location, ...]:
        """Folders that it reads."""
        return ()

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """Lineage of what it may write; nothing for what writes no artefact."""
        return ()

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """Shards that it trains, purges or signs for."""
        return ()


class TrainRun(_Run):
    """Train one shard, alone, from the base."""

    grace_s: ClassVar[int] = 300  # It saves a checkpoint, which takes a slow store its time.
    memory_help: ClassVar[str] = ", or lower training.trainBatchSize"

    verb: Literal["train"] = "train"
    shard: ObjectRef
    request: DigestString
    """What was asked for; names the folder where attempts leave their checkpoints."""
    base: BaseRef
    source: Location
    data_digest: DigestString | None = None
    """Refuse other data; none: say in the result what it was."""
    exclude_records: tuple[str, ...] = ()
    """Records to leave out, by name or digest; each must be there."""
    training: Training

    @property
    def locations(self) -> tuple[Location, ...]:
        """The shard's data, and the base."""
        return (self.source, self.base.location)

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """Any training of the shard: the key is not known before the data was read."""
        return (LineagePair(shard=self.shard.uid),)

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard."""
        return (self.shard,)


class RevisionRef(Model):
    """One recipe, merged."""

    recipe_digest: DigestString
    weights_digest: DigestString
    lineage: tuple[LineagePair, ...] = ()


class MergeRun(_Run):
    """Make the exact weighted mean of a recipe; of no parts, the base itself."""

    verb: Literal["merge"] = "merge"
    recipe_digest: DigestString
    parts: tuple[RecipePart, ...]
    output: WeightsDtype
    base: BaseRef

    @property
    def locations(self) -> tuple[Location, ...]:
        """The base."""
        return (self.base.location,)

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """The ingredients."""
        return tuple(
            LineagePair(shard=part.shard_uid, training_key=part.training_key) for part in self.parts
        )


class EvaluateRun(_Run):
    """Look at one revision: figures on held-out records, and samples."""

    verb: Literal["evaluate"] = "evaluate"
    revision: RevisionRef
    base: BaseRef
    held_out: Location | None = None
    suite: tuple[Named, ...]
    resolution: int

    @property
    def locations(self) -> tuple[Location, ...]:
        """The base, and the held-out records."""
        return (self.base.location, *([self.held_out] if self.held_out else []))

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """The revision's."""
        return self.revision.lineage


class ServeRun(_Run):
    """Answer requests for pictures. Loads no revision by itself: it waits for a grant."""

    ends: ClassVar[bool] = False

    verb: Literal["serve"] = "serve"
    base: BaseRef
    host: str = "127.0.0.1"
    port: Port = 8080
    admin_port: Port = 8081
    """0: any free one; both are said in `endpoint.json` in the work folder."""
    resolution: int = 512
    drain_s: Annotated[int, Field(ge=0)] = 10
    """How long a request may go on after its revision was dropped."""
    leave_s: Annotated[int, Field(ge=0)] = 2
    """How long it goes on taking requests once it is told to end, and says that it is not ready."""
    finish_s: Annotated[int, Field(ge=0)] | None = None
    """How long answers may take after that; none: as long as `drain_s`."""

    @property
    def locations(self) -> tuple[Location, ...]:
        """The base."""
        return (self.base.location,)


class FormerRecords(Model):
    """Of a shard that goes on without some records: which training had them."""

    shard: str
    """The UID of the DataShard."""
    training_key: DigestString
    records: tuple[str, ...] = ()
    """Which, by name. Nothing but salted commitments to them is kept."""
    requests: Annotated[tuple[DigestString, ...], Field(min_length=1)]
    """Of trainings without them, kept: what is asked for now, and without what left for good."""
    left_out: Annotated[int, Field(ge=1)]
    """How many records left the shard for good."""
    kept: DigestString | None = None
    """The shard's training key now, where it has one."""


class KeptTrainings(Model):
    """What a shard goes on with, where records left it: all else of its own is outdated."""

    shard: str
    """The UID of the DataShard."""
    requests: Annotated[tuple[DigestString, ...], Field(min_length=1)]
    """Of trainings without the records: what is asked for now, and without what left for good."""
    left_out: Annotated[int, Field(ge=1)]
    """How many records left the shard for good."""
    kept: DigestString | None = None
    """The shard's training key now, where it has one."""


class PurgeRun(_Run):
    """Remove everything of a shard's lineage from the store, behind a tombstone."""

    deletes: ClassVar[bool] = True

    verb: Literal["purge"] = "purge"
    shard: ObjectRef | None = None
    """Where records leave a shard, its UID, a dot, and the beginning of the training key.

    None: look for whatever came back of what was forgotten before.
    """
    forgotten: tuple[str, ...] = ()
    """What that was: each as `shard.uid` of its purge."""
    kept: tuple[KeptTrainings, ...] = ()
    """Living shards that records left: an older training of one may have been written since."""
    recorded_receipts: tuple[tuple[int, int], ...] = ()
    """Receipts of the soup that have an object, as ranges of sequences, both ends included."""
    former: FormerRecords | None = None
    """None: all of the shard."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard, if any."""
        return (self.shard,) if self.shard else ()


class HeldReport(Model):
    """What one server said that it holds, when it was asked after the purge."""

    server: str
    uid: str = ""
    """Of its pod, or of its process."""
    node: str = ""
    nonce: str = ""
    """Drawn for this question, and repeated in the answer; empty where it knows of none."""
    instance_id: str = Field(alias="boot")
    """Which process of the server answered."""
    epoch: int
    holds: tuple[DigestString, ...] = ()
    """Recipe digests: in memory or on disk, granted, being fetched, served or draining."""
    beside: tuple[LineagePair, ...] = ()
    """What was made into any of them that is not the successor's recipe."""


class Ending(StrEnum):
    """How it is known that a server has ended."""

    KUBELET = "Kubelet"
    """Its kubelet said so of the pod, or of its last container."""
    OUT_OF_SERVICE = "OutOfService"
    """An admin tainted its node as shut down: node.kubernetes.io/out-of-service."""
    NODE_HEARD = "NodeHeardSince"
    """The pod's object was gone, and its node has been Ready long enough since to have ended it."""
    PROCESS = "Process"
    """Its process is not there any more: on one machine."""


class EndedReport(Model):
    """A server that may have held something, and has ended since the unlearning was asked for."""

    server: str
    uid: str
    node: str = ""
    how: Ending
    seen_at: str = ""
    """RFC 3339: when the operator noted it; empty where it did when it asked for the signature."""


MOST_SIGNED_AT_ONCE = 16
"""Receipts that one sign run writes: its result names each, and has 4,096 bytes at most."""


class ReceiptRequest(Model):
    """One receipt that a sign run is to write."""

    is_only_looked_for: bool = False
    """Report it where it was written before, and write none where it was not."""

    shard: ObjectRef
    data_digest: DigestString | None = None
    training_keys: tuple[DigestString, ...] = ()
    former: FormerRecords | None = None
    """Set where the receipt is about one training of the shard, and not about all of it."""
    requested_at: str
    """RFC 3339, by the clock of whoever recorded the deletion."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed; any of it makes the receipt Incomplete."""
    finalizer_removed: bool = False
    """The shard's object went by force before anything of it was unlearned."""
    after: Annotated[int, Field(ge=0)] = 0
    """The last receipt of the shard that is known, by sequence: a later one is found, not written
    twice. An earlier one that is Incomplete is followed by another."""


class SignRun(_Run):
    """Write receipts of unlearnings, one after the other: the next of the soup's chain."""

    deletes: ClassVar[bool] = True
    signs: ClassVar[bool] = True

    verb: Literal["sign"] = "sign"
    receipts: Annotated[
        tuple[ReceiptRequest, ...], Field(min_length=1, max_length=MOST_SIGNED_AT_ONCE)
    ]
    successor: RevisionRef | None
    """What serves without the shards."""
    servers: tuple[HeldReport, ...] = ()
    ended: tuple[EndedReport, ...] = ()
    """Servers that ended since the first of the unlearnings was asked for."""
    chain: ChainHead | None = None
    """The last receipt that was recorded of the soup: nothing is signed onto a chain without it."""
    signing_key: str
    """Path of an Ed25519 key, PKCS #8 in PEM."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shards of the receipts."""
        return tuple(request.shard for request in self.receipts)


AnyRun = TrainRun | MergeRun | EvaluateRun | ServeRun | PurgeRun | SignRun
RunSpec = Annotated[AnyRun, Field(discriminator="verb")]
RUN_SPEC: TypeAdapter[RunSpec] = TypeAdapter(RunSpec)
RUN_SPECS: Mapping[str, type[AnyRun]] = {
    cls.model_fields["verb"].default: cls for cls in get_args(AnyRun)
}
"""The class of the RunSpec of each verb."""


def shards_of_spec(spec: Mapping[str, Any]) -> frozenset[str]:
    """Return the UIDs of the shards that a run trains, purges or signs for.

    Args:
        spec: A RunSpec as JSON, of this release or of the one before it.
    """
    named = [spec.get("shard"), *(request["shard"] for request in spec.get("receipts", ()))]
    return frozenset(shard["uid"] for shard in named if shard)


def kind_of_spec(spec: Mapping[str, Any]) -> RunKind:
    """Return the kind of a run.

    Args:
        spec: A RunSpec as JSON, of this release or of the one before it.
    """
    return kind_of_run(spec["verb"], shards_of_spec(spec))
