"""The input of a workload: a RunSpec class for each verb, with its properties as a process.

A RunSpec is mounted into the pod, or passed to a child process, as JSON. `stockpot.api.results`
has the result. Workloads know nothing of Kubernetes.

A new verb is a class here, in the union RunSpec; a result; and a module in
`stockpot.workload.main`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter

from stockpot.api.chain import ChainHead
from stockpot.api.manifest import LineagePair

# Parts stand both in a RunSpec and in the manifest that the run writes.
from stockpot.api.manifest import RecipePart as RecipePart  # noqa: PLC0414
from stockpot.api.model import DigestString, Model
from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.run_kinds import RunKind, kind_of_run
from stockpot.api.server_reports import EndedReport, HeldReport
from stockpot.api.training import Named, Training, WeightsDtype

Port = Annotated[int, Field(ge=0, le=65535)]
GrantPublicKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")]
"""An Ed25519 public key: its 32 bytes in base64."""


class StoreRef(Model):
    """The object store; credentials come from the environment, never from here."""

    url: str
    """`file:///folder`, or `s3://bucket/prefix`."""
    endpoint: str = ""
    """The S3 endpoint: `http://host:port` or `https://host`."""


class Place(StrEnum):
    """The kind of a Location."""

    FOLDER = "folder"
    STORE = "store"


class Location(Model):
    """A folder to read; the starter of the run resolved it from a Source."""

    place: Place
    path: str
    """An absolute path of a mounted folder, or a prefix in the store's bucket."""


class BaseRef(Model):
    """The pretrained pipeline that every training starts from."""

    location: Location
    digest: DigestString | None = None
    """The expected digest; if unset, the result reports the digest."""
    variant: str | None = None
    """The variant of its weights, such as `fp16`; if unset, those without one."""


class ObjectRef(Model):
    """A reference to an object of Kubernetes or of local mode."""

    namespace: str
    name: str
    uid: str


class _Run(Model):
    deletes: ClassVar[bool] = False
    """Whether the run has the identity that may read and delete everything in the store."""
    signs: ClassVar[bool] = False
    """Whether the run needs the signing key."""
    ends: ClassVar[bool] = True
    """Whether the run ends by itself and is a Job; otherwise it is a server."""
    grace_s: ClassVar[int] = 30
    """Termination grace period."""
    memory_help: ClassVar[str] = ""
    """How a user can lower the memory need; the end of a sentence."""

    name: str
    """The name of the run: deterministic, so that starting it twice is harmless."""
    store: StoreRef
    soup: ObjectRef

    @property
    def kind(self) -> RunKind:
        """The kind of the run."""
        verb: str = type(self).model_fields["verb"].default
        return kind_of_run(verb, [shard.uid for shard in self.about])

    @property
    def locations(self) -> tuple[Location, ...]:
        """The folders that the run reads."""
        return ()

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """The lineage of artefacts that the run may write; empty if it writes none."""
        return ()

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shards that the run trains, purges or signs for."""
        return ()


class TrainRun(_Run):
    """Train one shard, alone, from the base."""

    grace_s: ClassVar[int] = 300  # Saving a checkpoint takes long in a slow store.
    memory_help: ClassVar[str] = ", or lower training.trainBatchSize"

    verb: Literal["train"] = "train"
    namespace: NamespaceRef = NamespaceRef()
    shard: ObjectRef
    request: DigestString
    """Digest of the request; names the folder in which attempts leave their checkpoints."""
    base: BaseRef
    source: Location
    data_digest: DigestString | None = None
    """The expected digest; if unset, the result reports the digest."""
    exclude_records: tuple[str, ...] = ()
    """Records to leave out, by name or digest; each must exist, but for those below."""
    gone_records: tuple[str, ...] = ()
    """Names among these that may be missing: they left the shard for good, and its owner may have
    deleted them at the source."""
    training: Training

    @property
    def locations(self) -> tuple[Location, ...]:
        """The shard's data, and the base."""
        return (self.source, self.base.location)

    @property
    def lineage(self) -> tuple[LineagePair, ...]:
        """Any training of the shard: the training key is not known before the data is read."""
        return (LineagePair(shard=self.shard.uid),)

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard."""
        return (self.shard,)


class RevisionRef(Model):
    """The merged weights of one recipe."""

    recipe_digest: DigestString
    weights_digest: DigestString
    lineage: tuple[LineagePair, ...] = ()


class MergeRun(_Run):
    """Write the exact weighted mean of a recipe's parts; without parts, the base itself."""

    verb: Literal["merge"] = "merge"
    namespace: NamespaceRef = NamespaceRef()
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
    """Evaluate a revision: figures on held-out records, and samples."""

    verb: Literal["evaluate"] = "evaluate"
    namespace: NamespaceRef = NamespaceRef()
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
        """The lineage of the revision."""
        return self.revision.lineage


class ServeRun(_Run):
    """Serve pictures. A server loads no revision by itself: it waits for a grant."""

    ends: ClassVar[bool] = False

    verb: Literal["serve"] = "serve"
    base: BaseRef
    host: str = "127.0.0.1"
    port: Port = 8080
    admin_port: Port = 8081
    """The admin port; 0 is any free port. `endpoint.json` in the work folder has both ports."""
    metrics_port: Port | None = None
    """The port of `/metrics` alone; if unset, only the admin port answers that."""
    grant_keys: tuple[GrantPublicKey, ...] = ()
    """The public keys of which one must have signed each grant; if empty, none needs to."""
    resolution: int = 512
    drain_s: Annotated[int, Field(ge=0)] = 10
    """How long a request may go on after its revision is dropped."""
    leave_s: Annotated[int, Field(ge=0)] = 2
    """How long a server takes requests after SIGTERM, while it reports that it is not ready."""
    finish_s: Annotated[int, Field(ge=0)] | None = None
    """How long responses may take after that; if unset, `drain_s`."""

    @property
    def locations(self) -> tuple[Location, ...]:
        """The base."""
        return (self.base.location,)


class FormerRecords(Model):
    """The training that had the records which were removed from a living shard."""

    shard: str
    """The UID of the DataShard."""
    training_key: DigestString
    records: tuple[str, ...] = ()
    """The removed records, by name. Only salted commitments to them are kept."""
    requests: Annotated[tuple[DigestString, ...], Field(min_length=1)]
    """Requests of trainings without the records, which are kept: the present one, and the one
    without all records that were removed for good."""
    left_out: Annotated[int, Field(ge=1)]
    """Number of records that were removed from the shard for good."""
    kept: DigestString | None = None
    """The present training key of the shard, if it has one."""


class KeptTrainings(Model):
    """The trainings that remain valid for a shard with removed records; all others are outdated."""

    shard: str
    """The UID of the DataShard."""
    requests: Annotated[tuple[DigestString, ...], Field(min_length=1)]
    """Requests of trainings without the records: the present one, and the one without all records
    that were removed for good."""
    left_out: Annotated[int, Field(ge=1)]
    """Number of records that were removed from the shard for good."""
    kept: DigestString | None = None
    """The present training key of the shard, if it has one."""


class PurgeRun(_Run):
    """Remove everything of a shard's lineage from the store, behind a tombstone."""

    deletes: ClassVar[bool] = True

    verb: Literal["purge"] = "purge"
    shard: ObjectRef | None = None
    """The shard to purge; unset for a rescan of what was forgotten before.

    To remove records, its UID has a dot and the beginning of the training key appended.
    """
    forgotten: tuple[str, ...] = ()
    """The purged shards for a rescan, each as `shard.uid` of its purge."""
    kept: tuple[KeptTrainings, ...] = ()
    """Living shards with removed records: an outdated training may have been written late."""
    recorded_receipts: tuple[tuple[int, int], ...] = ()
    """Receipts of the soup that have an object, as inclusive ranges of sequence numbers."""
    former: FormerRecords | None = None
    """The training to purge; unset to purge all of the shard."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard to purge; none for a rescan."""
        return (self.shard,) if self.shard else ()


MOST_SIGNED_AT_ONCE = 16
"""Most receipts of a sign run: its result names each, and has at most 4,096 bytes."""


class SurvivingRecords(Model):
    """Records of an unlearned shard that another shard has as well: they stay learnt."""

    shard: str
    """UID of the other shard."""
    name: str = ""
    records: Annotated[int, Field(ge=1)]


class ReceiptRequest(Model):
    """A receipt that a sign run is to write."""

    is_only_looked_for: bool = False
    """Whether to report only a receipt that exists, and to write none."""

    shard: ObjectRef
    data_digest: DigestString | None = None
    training_keys: tuple[DigestString, ...] = ()
    former: FormerRecords | None = None
    """The training that the receipt is about; unset if it is about all of the shard."""
    requested_at: str
    """When the deletion was requested (RFC 3339), by the clock of its recorder."""
    missing: tuple[str, ...] = ()
    """Items that could not be confirmed; any item makes the receipt Incomplete."""
    survives_in: tuple[SurvivingRecords, ...] = ()
    """Living shards that have records of the unlearned one, as the last comparison of both says."""
    finalizer_removed: bool = False
    """Whether the shard's object was removed by force before the shard was unlearned."""
    after: Annotated[int, Field(ge=0)] = 0
    """Sequence number of the shard's last known receipt.

    A later receipt in the store is reported instead of written twice. An earlier one that is
    Incomplete is followed by another."""


class SignRun(_Run):
    """Sign receipts of unlearnings, and append them to the soup's chain one after the other."""

    deletes: ClassVar[bool] = True
    signs: ClassVar[bool] = True

    verb: Literal["sign"] = "sign"
    receipts: Annotated[
        tuple[ReceiptRequest, ...], Field(min_length=1, max_length=MOST_SIGNED_AT_ONCE)
    ]
    successor: RevisionRef | None
    """The revision that serves without the shards."""
    servers: tuple[HeldReport, ...] = ()
    ended: tuple[EndedReport, ...] = ()
    """Servers that ended since the first of the unlearnings was requested."""
    chain: ChainHead | None = None
    """The last recorded receipt of the soup; a chain without it is not signed onto."""
    signing_key: str
    """Path of an Ed25519 key, PKCS #8 in PEM."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shards of the receipts."""
        return tuple(request.shard for request in self.receipts)


class FindRun(_Run):
    """Find records in the list of those that a shard was trained on."""

    deletes: ClassVar[bool] = True

    verb: Literal["find"] = "find"
    shard: ObjectRef
    training_key: DigestString
    """The training whose list is read."""
    names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names or digests of records, as `excludeRecords` has them."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard."""
        return (self.shard,)


class LeavingRecords(Model):
    """Records that are being unlearned, in whichever ingredients of a shard have them."""

    unlearned: str
    """UID of what is unlearned: of the shard; of records, with a dot and a key prefix."""
    shard: str
    """UID of the shard."""
    names: tuple[str, ...] = ()
    """Names of the records that leave; empty where all do."""


class CompareRun(_Run):
    """Count the records that a shard shares with others, and those that were unlearned before."""

    deletes: ClassVar[bool] = True

    verb: Literal["compare"] = "compare"
    shard: ObjectRef
    training_key: DigestString
    others: tuple[LineagePair, ...] = ()
    """The ingredients of the other shards."""
    leaving: tuple[LeavingRecords, ...] = ()
    """What is being unlearned now."""

    @property
    def about(self) -> tuple[ObjectRef, ...]:
        """The shard."""
        return (self.shard,)


AnyRun = TrainRun | MergeRun | EvaluateRun | ServeRun | PurgeRun | SignRun | FindRun | CompareRun
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
