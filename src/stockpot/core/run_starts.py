"""The runs that a plan starts: how each is named, what it may write, and whom it is about.

The name makes it harmless to start a run twice: a second attempt at the same work has the next
number, and finds what the first one made.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from stockpot.api.run_kinds import RunKind
from stockpot.core.digests import Digest, digest_of_json, short
from stockpot.core.recipe import Ingredient, Lineage, Recipe, ShardUID, tag_of
from stockpot.core.revision import Revision
from stockpot.core.runs import Run, RunName


@dataclass(frozen=True)
class StartRun:
    """Start one attempt of a run. A new kind of run is another of these."""

    kind: ClassVar[RunKind]
    is_owed: ClassVar[bool] = False
    """Whether a deletion needs it, so that it is tried for as long as it takes."""


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


@dataclass(frozen=True)
class StartFind(StartRun):
    """Find the records that are to leave a shard, in the list of what it was trained on."""

    kind = RunKind.FIND
    is_owed = True

    shard: ShardUID
    request: Digest
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """The shard whose records are named."""
        return frozenset({self.shard})

    @property
    def stem(self) -> str:
        """One run for one list of names, of which the request has the digest."""
        return f"find-{self.shard[:8]}-{short(self.request)}"

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


@dataclass(frozen=True)
class StartCompare(StartRun):
    """Compare the records of a shard with those of the other shards of the soup."""

    kind = RunKind.COMPARE
    is_owed = True

    ingredient: Ingredient
    attempt: int = 1

    @property
    def about(self) -> frozenset[ShardUID]:
        """The shard that is compared."""
        return frozenset({self.ingredient.shard})

    @property
    def stem(self) -> str:
        """One comparison for one ingredient: each pair is compared with the later one."""
        return f"compare-{self.ingredient.shard[:8]}-{short(self.ingredient.key)}"

    @property
    def lineage(self) -> Lineage:
        """It writes no artefact."""
        return frozenset()


Start = (
    StartTraining
    | StartMerge
    | StartEvaluation
    | StartPurge
    | StartRescan
    | StartSigning
    | StartFind
    | StartCompare
)


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
