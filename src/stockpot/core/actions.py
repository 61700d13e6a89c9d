"""The actions of a plan. Their names make it harmless to apply one twice.

Only what the next round observes counts, never that an action was asked for. So each action may
come twice, late, or from a leader that has been replaced.
"""

from dataclasses import dataclass

from stockpot.api.omissions import Omissions
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.revision import Promotion, Revision
from stockpot.core.run_starts import (
    StartCompare,
    StartEvaluation,
    StartFind,
    StartMerge,
    StartPurge,
    StartRescan,
    StartSigning,
    StartTraining,
)
from stockpot.core.runs import RunName
from stockpot.core.servers import ServerGrant
from stockpot.core.shard import Comparison, FoundRecords, RecordCounts, TrainingOutcome


@dataclass(frozen=True)
class HoldShard:
    """Put our finalizer on a shard, so that its object stays until it is unlearned."""

    shard: ShardUID


@dataclass(frozen=True)
class HoldSoup:
    """Put our finalizer on the soup, so that its object stays until its shards are unlearned."""


@dataclass(frozen=True)
class ReleaseSoup:
    """Remove our finalizer from a soup that is being deleted and that no shard needs."""


@dataclass(frozen=True)
class WriteDebt:
    """Write an UnlearningDebt of these targets, so that their objects may go before the end."""

    targets: tuple[ShardUID, ...]


@dataclass(frozen=True)
class EndRun:
    """End a run, wait for its last process, and delete it."""

    name: RunName


@dataclass(frozen=True)
class RecordRetry:
    """Record that a person's request to retry is carried out: attempts count from these runs."""

    shard: ShardUID | None
    """Whose annotation it is; None for the soup's."""
    value: str
    runs: tuple[RunName, ...]


@dataclass(frozen=True)
class RecordIngredient:
    """Record the result of a training in its shard."""

    shard: ShardUID
    trained: TrainingOutcome


@dataclass(frozen=True)
class RequestRecordRemoval:
    """Record that records are to leave a shard, with the time."""

    shard: ShardUID


@dataclass(frozen=True)
class RecordFoundRecords:
    """Record which of the records that are to leave a shard it was trained on."""

    shard: ShardUID
    request: Digest
    """The training without them."""
    records: FoundRecords


@dataclass(frozen=True)
class RecordComparison:
    """Record what a shard has in common with others."""

    ingredient: Ingredient
    comparison: Comparison

    @property
    def shard(self) -> ShardUID:
        """The shard that was compared."""
        return self.ingredient.shard


@dataclass(frozen=True)
class CancelRecordRemoval:
    """Remove the note that records are to leave a shard: they are no longer named."""

    shard: ShardUID


@dataclass(frozen=True)
class DropIngredient:
    """Drop a shard's ingredient for good: from then on it is an unlearning target."""

    shard: ShardUID
    former: Ingredient
    records: tuple[str, ...]
    """Records that are in the ingredient and have to leave."""
    is_known: bool = True
    """The shard's status names the ingredient. False: artifacts from before the request."""


@dataclass(frozen=True)
class RecordRevision:
    """Create the SoupRevision of a recipe that was merged."""

    revision: Revision
    base: Digest
    size_bytes: int
    way: str = ""
    """`FromScratch` or `Incremental`; empty where the run did not report it."""
    read_bytes: int = 0
    pixels_per_latent: int | None = None
    """Pixels along one side of a latent of the base; None where the run did not read the base."""


@dataclass(frozen=True)
class RecordEvaluation:
    """Record the figures of a revision."""

    revision: Revision
    figures: tuple[tuple[str, str], ...]
    omissions: Omissions = ()
    """Held-out records that were not used exactly as given."""


@dataclass(frozen=True)
class RecordReceipt:
    """Create the UnlearningReceipt of a receipt that is in the store."""

    shard: ShardUID
    sequence: int
    digest: Digest
    is_complete: bool = True
    """The receipt lists nothing as left or unconfirmed."""
    signed_at: str = ""
    """Time by the signer's clock; empty where it is not reported."""
    residuals: int = 0
    """How many objects were left in the store: of unknown lineage, or kept by a lock."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed."""
    kept_digests: int | None = None
    """How many keyed digests of its records are kept; None without a list of them."""
    survives_in: RecordCounts = ()
    """Living shards that have records of the unlearned one, with their number; not all of many."""
    survives_in_count: int = 0
    previous: Digest | None = None
    """Digest of the chain's entry before it; None for the first."""


@dataclass(frozen=True)
class RecordRescan:
    """Record the result of a rescan for resurrected artifacts."""

    number: int
    removed: int
    unrecorded: tuple[int, ...] = ()
    """Sequences of receipts that the store has and that have no object."""


@dataclass(frozen=True)
class ForgetRevision:
    """Delete the SoupRevision of a revision that names an unlearned ingredient."""

    revision: Revision


@dataclass(frozen=True)
class Promote:
    """Promote a revision, by compare-and-swap, under an epoch above all known ones."""

    promotion: Promotion


@dataclass(frozen=True)
class RecordServer:
    """Record a server before its first grant: from then on it may hold something."""

    server: ServerGrant


@dataclass(frozen=True)
class ForgetServer:
    """Remove the record of a server whose end is confirmed."""

    uid: str


@dataclass(frozen=True)
class Prepare:
    """Have one server fetch what was promoted, beside what it serves."""

    server: str
    instance_id: str
    promotion: Promotion


@dataclass(frozen=True)
class Commit:
    """Have one server serve what it prepared, and drop everything else."""

    server: str
    instance_id: str
    promotion: Promotion


@dataclass(frozen=True)
class Scale:
    """Set the number of servers."""

    replicas: int


@dataclass(frozen=True)
class RecordDeletion:
    """Record a deletion: from then on nothing of the shard is trained, merged or granted."""

    shard: ShardUID


@dataclass(frozen=True)
class ReleaseShard:
    """Remove our finalizer from a shard that is unlearned."""

    shard: ShardUID


Action = (
    HoldShard
    | HoldSoup
    | ReleaseSoup
    | WriteDebt
    | StartTraining
    | StartMerge
    | StartEvaluation
    | StartPurge
    | StartRescan
    | StartSigning
    | StartFind
    | StartCompare
    | EndRun
    | RecordRetry
    | RecordIngredient
    | RequestRecordRemoval
    | RecordFoundRecords
    | RecordComparison
    | CancelRecordRemoval
    | DropIngredient
    | RecordRevision
    | RecordEvaluation
    | RecordReceipt
    | RecordRescan
    | ForgetRevision
    | Promote
    | RecordServer
    | ForgetServer
    | Prepare
    | Commit
    | Scale
    | RecordDeletion
    | ReleaseShard
)

IRREVOCABLE = (StartPurge, StartSigning, ReleaseShard, ReleaseSoup, ForgetServer, DropIngredient)
"""Before one of these is applied, the world is observed again, past every cache."""
