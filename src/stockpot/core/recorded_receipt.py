"""One UnlearningReceipt that was signed, stored and recorded."""

from dataclasses import dataclass
from datetime import datetime

from stockpot.core.digests import Digest
from stockpot.core.recipe import ShardUID


@dataclass(frozen=True)
class RecordedReceipt:
    """The UnlearningReceipt object of a receipt that was signed and stored."""

    name: str
    shard: ShardUID
    sequence: int
    is_complete: bool = True
    digest: Digest | None = None
    """Digest of the signed envelope."""
    source: Digest | None = None
    data: Digest | None = None
    requested_at: datetime | None = None
    """When the unlearning was requested."""
    signed_at: datetime | None = None
