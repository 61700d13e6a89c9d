"""The words in which an object says how it is: condition types and reasons, a sentence each.

One grammar for reasons: a state or a past participle in CamelCase, never an order. What a
reason means is written here once; the reference page and `stockpot local get` read it from
here. The facts of one case stand in the condition's message.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stockpot.api.model import Model, Timestamp


class Explained(StrEnum):
    """A word with the sentence that explains it."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "Explained":
        """Make the member a plain string that carries its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionStatus(StrEnum):
    """Whether it is so."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(Explained):
    """What a condition is about. The first three are kstatus', and mean what it says they mean."""

    READY = "Ready", "Everything that the spec asks for is so."
    RECONCILING = "Reconciling", "Work is under way; only there while it is."
    STALLED = "Stalled", "It will not go on before a person acts; only there while that is so."
    TRAINED = "Trained", "DataShard: its ingredient is in the store."
    INCLUDED = "Included", "DataShard: the revision that serves was made with it."
    UNLEARNED = "Unlearned", "DataShard: its deletion is carried out, and the receipt is stored."
    TRAINING_COMPLETE = "TrainingComplete", "Soup: every included shard has its ingredient."
    EVALUATED = "Evaluated", "Soup: the current revision has its figures."
    SERVING = "Serving", "Soup: every server answers with the current revision."
    UNLEARNING = "Unlearning", "Soup: one of its shards is being unlearned; only there meanwhile."
    RECEIPTS_MISSING = (
        "ReceiptsMissing",
        "Soup: the store has receipts without an UnlearningReceipt; only there while that is so.",
    )


class Reason(Explained):
    """Why a condition has its status."""

    # All is well.
    AS_DECLARED = "AsDeclared", "It is what its spec asks for."
    SETTLED = "Settled", "Nothing is left to do."
    TRAINED = "Trained", "The ingredient is in the store."
    INCLUDED = "Included", "The revision that serves was made with the shard."
    EVALUATED = "Evaluated", "The current revision has its figures."
    SERVED = "Served", "Every server answers with the current revision."
    BASE_SERVED = "BaseServed", "No shard is in the soup, so the base itself is served."
    UNLEARNED = "Unlearned", "The shard is out of servers and store, and the receipt is stored."

    # The spec asks for something that is not there.
    SOUP_NOT_FOUND = "SoupNotFound", "No Soup of the name in soupRef is in the namespace."
    UNKNOWN_WEIGHTING = "UnknownWeighting", "No weighting of that name is installed."
    WEIGHTING_FAILED = (
        "WeightingFailed",
        "The weighting cannot be loaded, raised an error, or gave weights that are none.",
    )
    UNKNOWN_METHOD = "UnknownMethod", "No training method of that name is installed."
    UNKNOWN_EVALUATOR = "UnknownEvaluator", "No evaluator of that name is installed."
    STORE_NOT_FOUND = "StoreNotFound", "No store of that name is declared."
    SOURCE_NOT_FOUND = "SourceNotFound", "The place that the source names is not known here."
    WEIGHTLESS = (
        "Weightless",
        "The weights of all shards are 0: they have no mean, and the base is served.",
    )

    # On the way into the soup.
    NOT_TRAINED = "NotTrained", "The shard has no ingredient yet."
    QUEUED = "Queued", "The soup already trains as many shards at once as it may."
    TRAINING = "Training", "The shard is being trained."
    TRAINING_FAILED = "TrainingFailed", "The training failed as often as it may."
    NOT_MERGED = "NotMerged", "The revision of these shards is not made yet."
    MERGING = "Merging", "The revision of these shards is being made."
    MERGE_FAILED = "MergeFailed", "The revision could not be made."
    NOT_EVALUATED = "NotEvaluated", "The current revision has no figures yet."
    EVALUATION_FAILED = "EvaluationFailed", "The figures could not be had; the revision serves."
    ROLLING_OUT = "RollingOut", "Not every server answers with the current revision yet."
    BEING_DELETED = "BeingDeleted", "The Soup, or its namespace, is being deleted."
    SERVER_NOT_RUNNING = "ServerNotRunning", "A server is starting, or has ended."
    SERVER_FAILED = "ServerFailed", "A server could not take its revision."
    HELD_BY_SUSPEND = "HeldBySuspend", "The soup is suspended: additions wait, deletions do not."
    HELD_BY_MIN_SHARDS = "HeldByMinShards", "Fewer shards are trained than membership.minShards."
    HELD_BY_SETTLE = "HeldBySettle", "The membership changed less than settleSeconds ago."
    EXCLUDED = "Excluded", "The shard's inclusion is Excluded."
    NOT_IN_SOUP = "NotInSoup", "The revision that serves was made without the shard."

    # On the way out: the rungs of an unlearning, in order.
    NOT_TOMBSTONED = "NotTombstoned", "No tombstone stands for the deleted shard yet."
    STILL_IN_SOUP = "StillInSoup", "The current revision was made with the deleted shard."
    STILL_SERVED = "StillServed", "A server still answers with the deleted shard in its lineage."
    STILL_WRITTEN = "StillWritten", "A run that may write the deleted shard has not ended."
    NOT_PURGED = "NotPurged", "The deleted shard's lineage is still in the store."
    STILL_HELD = "StillHeld", "A server still holds the deleted shard, or has not answered."
    NOT_SIGNED = "NotSigned", "The receipt is not stored yet."
    NO_SIGNING_KEY = "NoSigningKey", "There is no key to sign the receipt with."
    PURGE_FAILED = "PurgeFailed", "The purge ended with an error; it is tried again."
    SIGNING_FAILED = "SigningFailed", "The receipt could not be written; it is tried again."
    RESIDUALS_LEFT = (
        "ResidualsLeft",
        "The store has objects of unknown lineage, or such as a lock keeps; a purge leaves them.",
    )
    UNREACHABLE_NODE = "UnreachableNode", "A server that was granted the shard cannot be asked."
    RECEIPTS_OUT_OF_STEP = (
        "ReceiptsOutOfStep",
        "Store and objects know different receipts: one of them came back from a backup.",
    )
    RECEIPTS_NOT_RECORDED = (
        "ReceiptsNotRecorded",
        "The store has receipts that no UnlearningReceipt records.",
    )
    DEADLINE_PASSED = "DeadlinePassed", "An unlearning takes longer than its deadlineSeconds."
    UNLEARNING = "Unlearning", "A shard of the soup is being unlearned."
    RECEIPT_STORED = "ReceiptStored", "The receipt of the unlearning is stored."

    # The cluster does not give what was asked for.
    IMAGE_UNAVAILABLE = "ImageUnavailable", "An image cannot be pulled."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret, or the key in it, is not there."
    CLAIM_UNBOUND = "ClaimUnbound", "A PersistentVolumeClaim is not there, or has no volume."
    UNSCHEDULABLE = "Unschedulable", "No node has what the pod asks for."
    QUOTA_EXCEEDED = "QuotaExceeded", "The namespace's quota does not allow the pod."
    FORBIDDEN = "Forbidden", "The API server does not allow it."
    NODE_LOST = "NodeLost", "The node that the pod is on does not answer."
    CRASHING = "Crashing", "The container ends again and again."
    NAME_TAKEN = "NameTaken", "An object that is not ours has the name that is needed."

    # What was found is not what was promised.
    BAD_DATA = "BadData", "The data is empty, missing, corrupt or without captions."
    WRONG_DIGEST = "WrongDigest", "The bytes are not those that the digest names."
    DIVERGED = "Diverged", "The loss stopped being a number."
    BAD_BASE = "BadBase", "The base is no diffusers pipeline folder, or brings code."
    BASE_DRIFTED = "BaseDrifted", "The base is no longer the one that was first used."
    BAD_WEIGHTS = "BadWeights", "An ingredient or revision is cut short, edited or does not fit."
    FORGOTTEN = "Forgotten", "The data, or a shard in the lineage, was unlearned."
    BAD_RUN_SPEC = "BadRunSpec", "A run is told what its version does not know, or a wrong option."
    STORAGE_UNAVAILABLE = "StorageUnavailable", "The store is full, unwritable or unreachable."


class Condition(Model):
    """One thing that can be so or not, and why."""

    type: Annotated[str, Field(max_length=64)]
    """One word of the list in the reference; others may add theirs."""
    status: ConditionStatus
    reason: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=128)]
    """Why, in one word; programs may rely on it."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, in a sentence with the facts, and what to do about it."""
    observed_generation: int = 0
    """The generation of the object that this was said of."""
    last_transition_time: Timestamp = ""
    """When the status last changed; a changed reason does not count."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    ),
]
"""One of each type."""


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None where nothing is said."""
    return next((condition for condition in conditions if condition.type == type_), None)
