"""The closed union of what a plan can ask for. Names make asking twice harmless.

No action is relied on for having been asked: only the world's showing it counts. So each may
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
    """Put our finalizer on a shard, so that it cannot go before it is forgotten."""

    shard: ShardUID


@dataclass(frozen=True)
class HoldSoup:
    """Put our finalizer on the soup, so that its shards can be forgotten before it goes."""


@dataclass(frozen=True)
class ReleaseSoup:
    """Take our finalizer off a soup that is being deleted and that no shard needs any more."""


@dataclass(frozen=True)
class StartTraining(StartRun):
    """Train one shard, alone, from the base."""

    kind = RunKind.TRAIN

    shard: ShardUID
    request: Digest
    attempt: int = 1

    @property
    def stem(self) -> str:
        """Of the names of all attempts."""
        return f"train-{self.shard[:8]}-{short(self.request)}"

    @property
    def about(self) -> frozenset[ShardUID]:
        """Whose training it is."""
        return frozenset({self.shard})

    @property
    def lineage(self) -> Lineage:
        """What it may write: the key is not known before the data was read."""
        return frozenset({Ingredient(self.shard, Digest(""))})


@dataclass(frozen=True)
class StartMerge(StartRun):
    """Make the soup of a recipe."""

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
        """What it may write."""
        return self.recipe.lineage


@dataclass(frozen=True)
class StartEvaluation(StartRun):
    """Look at a revision: figures and samples."""

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
        """What it may write."""
        return self.revision.lineage


@dataclass(frozen=True)
class StartPurge(StartRun):
    """Remove everything of a shard's lineage from the store, behind a tombstone."""

    kind = RunKind.PURGE
    is_owed = True

    shard: ShardUID
    attempt: int = 1
    after: int = 0
    """How many receipts of the shard were Incomplete: after each it is purged once more."""

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
    """Look for what came back of all that was forgotten, and remove it."""

    kind = RunKind.RESCAN
    is_owed = True

    number: int
    """How many times that was looked for, with this one."""
    forgotten: tuple[ShardUID, ...]
    attempt: int = 1
    recorded: tuple[int, ...] = field(default=(), compare=False)
    """Receipts that have an object, by sequence: the run names those that have none."""

    @property
    def about(self) -> frozenset[ShardUID]:
        """No single shard."""
        return frozenset()

    @property
    def stem(self) -> str:
        """One run for one look."""
        return f"collect-{self.number}"

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


@dataclass(frozen=True)
class DueReceipt:
    """A receipt that is to be signed: nothing else is missing for it."""

    shard: ShardUID
    after: int = 0
    """How many receipts of the shard were Incomplete: this is another."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed, which the receipt is to say."""
    is_only_looked_for: bool = False
    """It may have been written before, by a run of which nothing was heard; it is not due."""


@dataclass(frozen=True)
class StartSigning(StartRun):
    """Write the receipts of unlearnings that were verified, one after the other."""

    kind = RunKind.SIGN
    is_owed = True

    receipts: tuple[DueReceipt, ...]
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """The shards whose receipts they are."""
        return frozenset(receipt.shard for receipt in self.receipts)

    @property
    def stem(self) -> str:
        """The same for the same receipts, so that a run of them is found again."""
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
    """Which attempt of it the name says; 0 where it says another run."""
    stem, _, attempt = name.rpartition("-")
    return int(attempt) if stem == start.stem and attempt.isdecimal() else 0


def is_attempt_at(run: Run, start: Start) -> bool:
    """Whether it is that: two shards may begin with the same characters."""
    return attempt_of(run.name, start) > 0 and (not run.about or run.about == start.about)


def is_signing(run: Run) -> bool:
    """Whether the run writes receipts."""
    return run.kind is RunKind.SIGN


def next_attempt(start: Start, attempt: int) -> Start:
    """The same run, tried once more."""
    return replace(start, attempt=attempt)


@dataclass(frozen=True)
class EndRun:
    """End a run, wait for its last process, and forget that it was."""

    name: RunName


@dataclass(frozen=True)
class RecordIngredient:
    """Write down what a training came to."""

    shard: ShardUID
    trained: TrainingOutcome


@dataclass(frozen=True)
class RequestRecordRemoval:
    """Write down when it was seen that records are to leave a shard."""

    shard: ShardUID


@dataclass(frozen=True)
class CancelRecordRemoval:
    """Write down no longer that records are to leave a shard: they were named by mistake."""

    shard: ShardUID


@dataclass(frozen=True)
class DropIngredient:
    """Take a shard's ingredient from it, for good: from then on that is to be forgotten."""

    shard: ShardUID
    former: Ingredient
    records: tuple[str, ...]
    """Which are in it, and are not to be."""
    is_known: bool = True
    """It is in the shard's status; else whatever was written before they were named."""


@dataclass(frozen=True)
class RecordRevision:
    """Write down that a recipe was merged, to what, and how."""

    revision: Revision
    base: Digest
    size_bytes: int
    way: str = ""
    """`FromScratch` or `Incremental`; empty where it was not said."""
    read_bytes: int = 0


@dataclass(frozen=True)
class RecordEvaluation:
    """Write down a revision's figures."""

    revision: Revision
    figures: tuple[tuple[str, str], ...]
    omissions: Omissions = ()
    """What of the held-out records was not used exactly as given."""


@dataclass(frozen=True)
class RecordReceipt:
    """Write down that a receipt is in the store."""

    shard: ShardUID
    sequence: int
    digest: Digest
    is_complete: bool = True
    """Nothing is missing."""
    signed_at: str = ""
    """By the signer's clock; empty where it did not say."""
    residuals: int = 0
    """How many objects were left in the store: of unknown lineage, or kept by a lock."""
    missing: tuple[str, ...] = ()
    """What could not be confirmed."""
    previous: Digest | None = None
    """Digest of the chain's entry before it; None for the first."""


@dataclass(frozen=True)
class RecordRescan:
    """Write down that it was looked for what came back, and how much did."""

    number: int
    removed: int
    unrecorded: tuple[int, ...] = ()
    """Receipts, by sequence, that the store has and that have no object."""


@dataclass(frozen=True)
class ForgetRevision:
    """Take away the object of a revision that a deleted shard is in."""

    revision: Revision


@dataclass(frozen=True)
class Promote:
    """Say that this revision is to be served, by compare-and-swap above all epochs known."""

    promotion: Promotion


@dataclass(frozen=True)
class RecordServer:
    """Write down that a server may hold something from now on, before its first grant."""

    server: ServerGrant


@dataclass(frozen=True)
class ForgetServer:
    """Write down no longer that a server may hold something: its end is confirmed."""

    uid: str


@dataclass(frozen=True)
class Prepare:
    """Tell one server to fetch what was promoted, beside what it serves."""

    server: str
    boot: str
    promotion: Promotion


@dataclass(frozen=True)
class Commit:
    """Tell one server to serve what it prepared, and to drop all else."""

    server: str
    boot: str
    promotion: Promotion


@dataclass(frozen=True)
class Scale:
    """Have this many servers."""

    replicas: int


@dataclass(frozen=True)
class RecordDeletion:
    """Write down that a deletion was seen: from then on nothing of it is made or granted."""

    shard: ShardUID


@dataclass(frozen=True)
class ReleaseShard:
    """Take our finalizer off a shard that is forgotten."""

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
"""Before any of these the world is looked at once more, past every cache."""
