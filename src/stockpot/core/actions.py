"""The actions of a plan. Their names make it harmless to apply one twice.

Only what the next round observes counts, never that an action was asked for. So each action may
come twice, late, or from a leader that has been replaced.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from stockpot.api.omissions import Omissions
from stockpot.api.run_kinds import RunKind
from stockpot.core.digests import Digest, digest_of_json, short
from stockpot.core.recipe import Ingredient, Lineage, Recipe, ShardUID, tag_of
from stockpot.core.revision import Promotion, Revision
from stockpot.core.runs import Run, RunName
from stockpot.core.servers import ServerGrant
from stockpot.core.shard import TrainingOutcome


@dataclass(frozen=True)
class StartRun:
    """Start one attempt of a run. A new kind of run is another of these."""

    kind: ClassVar[RunKind]
    is_owed: ClassVar[bool] = False
    """Whether a deletion needs it, so that it is tried for as long as it takes."""


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
class StartTraining(StartRun):
    """Train one shard, alone, from the base."""

    kind = RunKind.TRAIN

    shard: ShardUID
    request: Digest
    attempt: int = 1

    @property
    def stem(self) -> str:
        """What the names of all attempts begin with."""
        return f"train-{self.shard[:8]}-{short(self.request)}"

    @property
    def about(self) -> frozenset[ShardUID]:
        """The shard that is trained."""
        return frozenset({self.shard})

    @property
    def lineage(self) -> Lineage:
        """What it may write: any training of the shard, whose key depends on the data."""
        return frozenset({Ingredient(self.shard, Digest(""))})


@dataclass(frozen=True)
class StartMerge(StartRun):
    """Merge the ingredients of a recipe."""

    kind = RunKind.MERGE

    recipe: Recipe
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """No single shard."""
        return frozenset()

    @property
    def stem(self) -> str:
        """One merge for one recipe."""
        return f"merge-{short(self.recipe.digest)}"

    @property
    def lineage(self) -> Lineage:
        """What it may write: artifacts of these ingredients."""
        return self.recipe.lineage


@dataclass(frozen=True)
class StartEvaluation(StartRun):
    """Evaluate a revision: figures and samples."""

    kind = RunKind.EVALUATE

    revision: Revision
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """No single shard."""
        return frozenset()

    @property
    def stem(self) -> str:
        """One evaluation for one recipe."""
        return f"evaluate-{short(self.revision.recipe.digest)}"

    @property
    def lineage(self) -> Lineage:
        """What it may write: artifacts of these ingredients."""
        return self.revision.lineage


@dataclass(frozen=True)
class StartPurge(StartRun):
    """Remove everything of a shard's lineage from the store, behind a tombstone."""

    kind = RunKind.PURGE
    is_owed = True

    shard: ShardUID
    attempt: int = 1
    after: int = 0
    """How many receipts of the shard are Incomplete: after each it is purged again."""

    @property
    def about(self) -> frozenset[ShardUID]:
        """The shard that is purged."""
        return frozenset({self.shard})

    @property
    def stem(self) -> str:
        """One purge for one shard and receipt."""
        return f"purge-{tag_of(self.shard)}" + (f"-{self.after}" if self.after else "")

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


@dataclass(frozen=True)
class StartRescan(StartRun):
    """Rescan the store for resurrected artifacts of unlearned shards, and remove them."""

    kind = RunKind.RESCAN
    is_owed = True

    number: int
    """Number of the rescan, from 1."""
    forgotten: tuple[ShardUID, ...]
    attempt: int = 1
    recorded: tuple[int, ...] = field(default=(), compare=False)
    """Sequences of receipts that have an object: the run reports those that have none."""

    @property
    def about(self) -> frozenset[ShardUID]:
        """No single shard."""
        return frozenset()

    @property
    def stem(self) -> str:
        """One run for one rescan."""
        return f"collect-{self.number}"

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


@dataclass(frozen=True)
class DueReceipt:
    """A receipt that is to be signed."""

    shard: ShardUID
    after: int = 0
    """How many receipts of the shard are Incomplete already."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed, as the receipt has to list it."""
    is_only_looked_for: bool = False
    """Not due, but a killed run may have written it: it is only looked up."""


@dataclass(frozen=True)
class StartSigning(StartRun):
    """Sign the receipts of targets that were verified, one after the other."""

    kind = RunKind.SIGN
    is_owed = True

    receipts: tuple[DueReceipt, ...]
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """The targets whose receipts are signed."""
        return frozenset(receipt.shard for receipt in self.receipts)

    @property
    def stem(self) -> str:
        """Depends on the receipts alone, so that a run of them is found again."""
        if len(self.receipts) == 1:
            [only] = self.receipts
            return f"sign-{tag_of(only.shard)}" + (f"-{only.after}" if only.after else "")
        named = sorted([receipt.shard, receipt.after] for receipt in self.receipts)
        return f"sign-{short(digest_of_json('signing/1', named))}"

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


Start = StartTraining | StartMerge | StartEvaluation | StartPurge | StartRescan | StartSigning


def run_name(start: Start) -> RunName:
    """Name one attempt of a run."""
    return RunName(f"{start.stem}-{start.attempt}")


def attempt_of(name: RunName, start: Start) -> int:
    """Return the number of the attempt that a name has; 0 for the name of another run."""
    stem, _, attempt = name.rpartition("-")
    return int(attempt) if stem == start.stem and attempt.isdecimal() else 0


def is_attempt_at(run: Run, start: Start) -> bool:
    """Whether a run is an attempt at this one: UIDs may begin with the same characters."""
    return attempt_of(run.name, start) > 0 and (not run.about or run.about == start.about)


def is_signing(run: Run) -> bool:
    """Whether the run writes receipts."""
    return run.kind is RunKind.SIGN


def next_attempt(start: Start, attempt: int) -> Start:
    """Return the run with the number of an attempt."""
    return replace(start, attempt=attempt)


@dataclass(frozen=True)
class EndRun:
    """End a run, wait for its last process, and delete it."""

    name: RunName


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
    | StartTraining
    | StartMerge
    | StartEvaluation
    | StartPurge
    | StartRescan
    | StartSigning
    | EndRun
    | RecordIngredient
    | RequestRecordRemoval
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
