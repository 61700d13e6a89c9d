"""What a workload is told, and what it answers.

A RunSpec is mounted into the pod, or handed to a child process, as JSON. A RunResult is the
last thing that a workload says: the pod's termination message, at most 4,096 bytes, so it has
digests and figures; lists stay in the store. Workloads know nothing of Kubernetes.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from stockpot.api.chain import ChainHead
from stockpot.api.manifest import LineagePair

# A run is told parts, and the manifest that it writes says them: both find the word here.
from stockpot.api.manifest import RecipePart as RecipePart  # noqa: PLC0414
from stockpot.api.model import DigestString, Model
from stockpot.api.omissions import Omissions
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
    name: str
    """Of the run: deterministic, so that asking twice is harmless."""
    store: StoreRef
    soup: ObjectRef


class TrainRun(_Run):
    """Train one shard, alone, from the base."""

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


class EvaluateRun(_Run):
    """Look at one revision: figures on held-out records, and samples."""

    verb: Literal["evaluate"] = "evaluate"
    revision: RevisionRef
    base: BaseRef
    held_out: Location | None = None
    suite: tuple[Named, ...]
    resolution: int


class ServeRun(_Run):
    """Answer requests for pictures. Loads no revision by itself: it waits for a grant."""

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


RunSpec = Annotated[
    TrainRun | MergeRun | EvaluateRun | ServeRun | PurgeRun | SignRun, Field(discriminator="verb")
]
RUN_SPEC: TypeAdapter[RunSpec] = TypeAdapter(RunSpec)


def shards_of_spec(spec: Mapping[str, Any]) -> frozenset[str]:
    """Return the UIDs of the shards that a run trains, purges or signs for.

    Args:
        spec: A RunSpec as JSON, of this release or of the one before it.
    """
    named = [spec.get("shard"), *(request["shard"] for request in spec.get("receipts", ()))]
    return frozenset(shard["uid"] for shard in named if shard)


class Problem(Model):
    """Why a run failed."""

    exit_code: int
    message: str
    help: str = ""


class SignedReceipt(Model):
    """One receipt that a sign run wrote, or found already written."""

    shard: str
    """UID; where records left a shard, with a dot and the beginning of the training key."""
    sequence: int
    digest: DigestString
    previous: DigestString | None = None
    """Digest of the chain's entry before it; left out where that entry stands in the same list."""
    signed_at: str
    """RFC 3339, as the receipt says it."""
    residuals: int = 0
    """How many objects were left in the store: of unknown lineage, or kept by a lock."""
    missing: int = 0
    """How many things could not be confirmed."""
    missing_named: tuple[int, ...] = ()
    """Which of the result's `missing` these are, by position; the receipt names them all."""


class RunResult(Model):
    """What a run ends with."""

    problem: Problem | None = None
    """None: it did what it was told."""
    reused: bool = False
    """The work was found done, under its name."""
    base_digest: DigestString | None = None
    data_digest: DigestString | None = None
    records: int | None = None
    training_key: DigestString | None = None
    weights_digest: DigestString | None = None
    size_bytes: int | None = None
    recipe_digest: DigestString | None = None
    receipts: tuple[SignedReceipt, ...] = ()
    """What a sign run wrote or found, in the order in which it was asked for."""
    receipt_sequence: int | None = None
    """Only of sign runs of the release before `receipts`, which wrote one receipt each."""
    receipt_digest: DigestString | None = None
    signed_at: str | None = None
    purged_objects: int | None = None
    purged_bytes: int | None = None
    inventory_digest: DigestString | None = None
    unrecorded_receipts: tuple[int, ...] = ()
    """Of a look for what came back: some receipts of the store that no object records."""
    missing: tuple[str, ...] = ()
    """What the receipts say that nobody could confirm."""
    residuals: tuple[str, ...] = ()
    """Some of the keys that a purge left; `figures` counts them all, and how many a lock keeps."""
    omissions: Omissions = Field(default=(), exclude_if=lambda omissions: not omissions)
    """What of the data was not used exactly as given: counted by reason, a few named each."""
    figures: dict[str, str] = Field(default_factory=dict)
    """Measured values, as decimal strings: `heldout_loss`, `saturation_mean`, `seconds` …"""
