"""Condition types and reasons, each with a sentence that explains it.

A reason is a state or a past participle in CamelCase, never an order. The reference page and
`stockpot local get` read the explanations from here; the facts of a case are in the condition's
message. A reason whose explanation begins with "Deprecated:" is not used by this version.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stockpot.api.model import Model, Timestamp


class Explained(StrEnum):
    """A string with a sentence that explains it."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "Explained":
        """Make the member a plain string that carries its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionStatus(StrEnum):
    """Whether the condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(Explained):
    """The type of a condition. The first three are those of kstatus."""

    READY = "Ready", "The object is as its spec asks."
    RECONCILING = "Reconciling", "The operator is working on the object; present only while it is."
    STALLED = (
        "Stalled",
        "The operator waits for a person to act; present only while it does.",
    )
    TRAINED = "Trained", "DataShard: its ingredient is in the store."
    INCLUDED = "Included", "DataShard: the promoted revision includes the shard."
    UNLEARNED = "Unlearned", "DataShard: the shard is unlearned, and its receipt is stored."
    OVERLAPS = (
        "Overlaps",
        "Shards share records, which stay learnt when one is deleted; False: not all are compared.",
    )
    TRAINING_COMPLETE = "TrainingComplete", "Soup: every included shard has its ingredient."
    EVALUATED = "Evaluated", "Soup: the current revision is evaluated."
    SERVING = "Serving", "Soup: the current revision is served, and no other."
    MEMBERS_HELD = (
        "MembersHeld",
        "Soup: shards are held back by suspend or minShards; present only while they are.",
    )
    UNLEARNING = "Unlearning", "Soup: a shard is being unlearned; present only while it is."
    RECEIPTS_MISSING = (
        "ReceiptsMissing",
        "Soup: the store has receipts without an UnlearningReceipt; present only while it has.",
    )


class Reason(Explained):
    """Why a condition has its status."""

    # All is well.
    AS_DECLARED = "AsDeclared", "Deprecated: not used; see Settled."
    SETTLED = "Settled", "The object is as its spec asks; nothing is left to do."
    TRAINED = "Trained", "The ingredient is in the store."
    INCLUDED = "Included", "The promoted revision includes the shard."
    EVALUATED = "Evaluated", "The current revision is evaluated."
    SERVED = "Served", "The current revision is served, and no other."
    BASE_SERVED = "BaseServed", "No shard is in the soup, so the base itself is served."
    UNLEARNED = (
        "Unlearned",
        "No server and no object in the store has the shard, and its receipt is stored.",
    )

    # The spec asks for something that is not there.
    SOUP_NOT_FOUND = "SoupNotFound", "The namespace has no Soup with the name in soupRef."
    UNKNOWN_WEIGHTING = "UnknownWeighting", "No weighting of that name is installed."
    WEIGHTING_FAILED = (
        "WeightingFailed",
        "The weighting cannot be loaded, raised an error, or returned invalid weights.",
    )
    UNKNOWN_METHOD = "UnknownMethod", "No training method of that name is installed."
    UNKNOWN_EVALUATOR = "UnknownEvaluator", "No evaluator of that name is installed."
    STORE_NOT_FOUND = "StoreNotFound", "No store of that name is declared."
    SOURCE_NOT_FOUND = "SourceNotFound", "The location that the source names is not known."
    WEIGHTLESS = (
        "Weightless",
        "All shards have the weight 0, so there is no mean and the base is served.",
    )

    NO_SHARDS = "NoShards", "No shard was ever served: the soup has none, or all are Excluded."

    # On the way into the soup.
    NOT_TRAINED = "NotTrained", "The shard has no ingredient yet."
    QUEUED = (
        "Queued",
        "The training waits: training.parallelism is used up, or a queue suspends its Job.",
    )
    TRAINING = "Training", "The shard is being trained."
    FINDING_RECORDS = (
        "FindingRecords",
        "The names in excludeRecords are looked up in the list of what the shard was trained on.",
    )
    UNKNOWN_RECORDS = (
        "UnknownRecords",
        "The shard was not trained on what excludeRecords names, or on nothing else; it stays.",
    )
    TRAINING_FAILED = "TrainingFailed", "The training failed training.maxAttempts times."
    NOT_COMPARED = "NotCompared", "The shard is not compared with the other shards yet."
    OVERLAPS = "Overlaps", "The shard has records that other shards have as well."
    LOOKS_ALIKE = (
        "LooksAlike",
        "The shard has pictures that look like those of other shards, and are other files.",
    )
    NOT_MERGED = "NotMerged", "The revision of these shards is not merged yet."
    MERGING = "Merging", "The revision of these shards is being merged."
    MERGE_FAILED = "MergeFailed", "The merge failed."
    NOT_EVALUATED = "NotEvaluated", "The current revision is not evaluated yet."
    EVALUATION_FAILED = (
        "EvaluationFailed",
        "The evaluation failed; the revision is served all the same.",
    )
    ROLLING_OUT = "RollingOut", "Not every server serves the current revision yet."
    BEING_DELETED = "BeingDeleted", "The Soup, or its namespace, is being deleted."
    SERVER_NOT_RUNNING = "ServerNotRunning", "A server is starting, or has ended."
    SERVER_FAILED = "ServerFailed", "A server cannot load its revision."
    HELD_BY_SUSPEND = "HeldBySuspend", "The soup is suspended: additions wait, deletions do not."
    HELD_BY_MIN_SHARDS = "HeldByMinShards", "Fewer shards are trained than membership.minShards."
    HELD_BY_SETTLE = "HeldBySettle", "The membership changed less than settleSeconds ago."
    EXCLUDED = "Excluded", "The shard's inclusion is Excluded."
    NOT_IN_SOUP = (
        "NotInSoup",
        "Deprecated: not used; Included has a more specific reason.",
    )

    # On the way out: the stages of an unlearning, in order.
    NOT_TOMBSTONED = "NotTombstoned", "The deletion of the shard is not recorded yet."
    STILL_IN_SOUP = "StillInSoup", "The current revision includes the deleted shard."
    STILL_SERVED = (
        "StillServed",
        "A server still serves a revision that includes the deleted shard.",
    )
    STILL_WRITTEN = (
        "StillWritten",
        "A run that may write artifacts of the deleted shard has not ended.",
    )
    NOT_PURGED = "NotPurged", "The store still has artifacts of the deleted shard."
    STILL_HELD = "StillHeld", "A server still holds the deleted shard, or does not answer."
    NOT_SIGNED = "NotSigned", "The receipt is not stored yet."
    NO_SIGNING_KEY = "NoSigningKey", "The key to sign the receipt is missing."
    PURGE_FAILED = "PurgeFailed", "The purge failed; it is retried."
    SIGNING_FAILED = "SigningFailed", "The signing of the receipt failed; it is retried."
    RESIDUALS_LEFT = (
        "ResidualsLeft",
        "The purge left objects in the store: of unknown lineage, or kept by an object lock.",
    )
    UNREACHABLE_NODE = "UnreachableNode", "A server that was granted the shard cannot be reached."
    RECEIPTS_OUT_OF_STEP = (
        "ReceiptsOutOfStep",
        "The store and the objects have different receipts: one was restored from a backup.",
    )
    RECEIPTS_NOT_RECORDED = (
        "ReceiptsNotRecorded",
        "The store has receipts that no UnlearningReceipt records.",
    )
    DEADLINE_PASSED = "DeadlinePassed", "An unlearning takes longer than its deadlineSeconds."
    UNLEARNING = "Unlearning", "A shard of the soup is being unlearned."
    OWED = "Owed", "The object went, and an UnlearningDebt has what is still to be unlearned."
    PAID = "Paid", "UnlearningDebt: everything is unlearned, and its receipts are stored."
    RECEIPT_STORED = "ReceiptStored", "Deprecated: not used; see Unlearned."

    # The cluster does not provide what a workload needs.
    IMAGE_UNAVAILABLE = "ImageUnavailable", "An image cannot be pulled."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret, or a key in it, does not exist."
    CLAIM_UNBOUND = "ClaimUnbound", "A PersistentVolumeClaim does not exist, or is not bound."
    UNSCHEDULABLE = "Unschedulable", "No node can run the pod."
    QUOTA_EXCEEDED = "QuotaExceeded", "The namespace's quota does not allow the pod."
    FORBIDDEN = "Forbidden", "The API server forbids the request."
    NODE_LOST = "NodeLost", "The pod's node does not answer."
    CRASHING = "Crashing", "The container crashes repeatedly."
    NAME_TAKEN = "NameTaken", "An object that Stockpot does not own has the required name."

    # Data or weights are not what was expected.
    BAD_DATA = "BadData", "The data is empty, missing, corrupt or without captions."
    WRONG_DIGEST = "WrongDigest", "The bytes do not match their digest."
    DIVERGED = "Diverged", "The training diverged: the loss is not a number."
    BAD_BASE = "BadBase", "The base is not a diffusers pipeline folder, or has custom code."
    BASE_DRIFTED = "BaseDrifted", "The base differs from the one at its first use."
    BAD_WEIGHTS = (
        "BadWeights",
        "An ingredient or revision is truncated, was edited, or does not fit.",
    )
    FORGOTTEN = "Forgotten", "The data, or a shard in the lineage, was unlearned."
    BAD_RUN_SPEC = (
        "BadRunSpec",
        "A run spec has an invalid option, or a field that the version does not know.",
    )
    OTHER_NAMESPACE = (
        "OtherNamespace",
        "The store's prefix belongs to a deleted namespace of the same name.",
    )
    STORAGE_UNAVAILABLE = "StorageUnavailable", "The store is full, read-only or unreachable."


class Condition(Model):
    """One aspect of an object's state, and the reason for it."""

    type: Annotated[str, Field(max_length=64)]
    """One of the types in the reference; other controllers may add theirs."""
    status: ConditionStatus
    reason: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=128)]
    """The reason, in one word; programs may rely on it."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """The reason, in a sentence with the facts, and what to do."""
    observed_generation: int = 0
    """The generation of the object that was observed."""
    last_transition_time: Timestamp = ""
    """When the status last changed; a change of the reason does not count."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    ),
]
"""At most one condition of each type."""


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """Return the condition of a type; None if there is none."""
    return next((condition for condition in conditions if condition.type == type_), None)
