"""The kind UnlearningDebt: what is still to be unlearned of a Soup whose object went before."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from stockpot.api.conditions import Conditions
from stockpot.api.model import Model, immutable
from stockpot.api.v1alpha1.common import API_VERSION, ObjectMeta, ObjectName, UidRef
from stockpot.api.v1alpha1.data_shard import ShardUnlearning
from stockpot.api.v1alpha1.soup import MOST_GRANTED, GrantedServer, LostShard, ReceiptChain

MOST_OWED = 256
"""Most shards of one debt: an object has at most 1.5 MB. A larger soup leaves several debts."""


class DebtReason(StrEnum):
    """Why the Soup went before its shards were unlearned."""

    FORCE_DELETED = "ForceDeleted"
    """The Soup has the annotation `stockpot.dev/force-delete`."""
    NAMESPACE_ENDED = "NamespaceEnded"
    """Its namespace was deleted, and unlearning.deadlineSeconds passed."""


class DebtorSoup(UidRef):
    """The Soup that went, with its namespace, which may be gone as well."""

    namespace: ObjectName


class UnlearningDebtSpec(Model):
    """What is to be purged and receipted, as it was known when the Soup was let go."""

    soup: DebtorSoup
    store: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """The store of the Soup, by the admin's name for it."""
    reason: DebtReason
    deadline_seconds: Annotated[int, Field(ge=1)]
    """The Soup's unlearning.deadlineSeconds."""
    receipts: ReceiptChain = ReceiptChain()
    """The Soup's chain of receipts."""
    shards: Annotated[tuple[LostShard, ...], Field(min_length=1, max_length=MOST_OWED)]
    """What is to be unlearned."""
    servers: Annotated[tuple[GrantedServer, ...], Field(max_length=MOST_GRANTED)] = ()
    """Servers that may still hold a shard."""


class OwedShard(Model):
    """Progress of the unlearning of one shard."""

    uid: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    unlearning: ShardUnlearning
    is_paid: bool = False
    """Whether the shard is purged, and its Complete receipt is stored."""


class UnlearningDebtStatus(Model):
    """How much of the debt is paid."""

    observed_generation: int = 0
    conditions: Conditions = ()
    owed: Annotated[int, Field(ge=0)] = 0
    """Number of shards that are still to be unlearned."""
    shards: Annotated[tuple[OwedShard, ...], Field(max_length=MOST_OWED)] = ()
    receipts: ReceiptChain = ReceiptChain()
    """The Soup's chain of receipts, as far as it was continued."""
    ended: Annotated[tuple[str, ...], Field(max_length=MOST_GRANTED)] = ()
    """UIDs of servers whose end is confirmed."""


class UnlearningDebt(Model):
    """What is still to be unlearned of a Soup that was let go; it is paid when its store answers.

    Written by Stockpot into its own namespace. A paid debt stays as a record until it is deleted.
    """

    PLURAL: ClassVar[str] = "unlearningdebts"

    api_version: Literal["stockpot.dev/v1alpha1"] = API_VERSION
    kind: Literal["UnlearningDebt"] = "UnlearningDebt"
    metadata: ObjectMeta
    spec: Annotated[UnlearningDebtSpec, immutable("a debt is written once")]
    status: UnlearningDebtStatus = UnlearningDebtStatus()
