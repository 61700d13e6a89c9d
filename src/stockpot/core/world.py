"""What was seen, as frozen values. Nothing here decides, and nothing here looks.

A World is one soup with all of its shards, runs and servers: the unit of a round, so that no
two plans disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import NewType

from stockpot.api.chain import ChainHead
from stockpot.api.conditions import Reason
from stockpot.api.omissions import Omissions
from stockpot.api.results import RunResult
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import Ending
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, Recipe, ShardUID, shards_in
from stockpot.core.weighting import UnusablePlugin, Weighting
from stockpot.errors import FINAL_EXIT_CODES

SoupUID = NewType("SoupUID", str)
RunName = NewType("RunName", str)
Epoch = NewType("Epoch", int)


@dataclass(frozen=True)
class Revision:
    """A recipe that was merged."""

    recipe: Recipe
    weights: Digest

    @property
    def lineage(self) -> Lineage:
        """The ingredients that it is a function of."""
        return self.recipe.lineage


@dataclass(frozen=True)
class Promotion:
    """The word that a revision is to be served, under an epoch above all others."""

    revision: Revision
    epoch: Epoch
    number: int
    """How many promotions of soups the Soup has seen; 0 for the base."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What a shard's training came to."""

    key: Digest
    weights: Digest
    at: datetime
    base: Digest
    data: Digest
    records: int
    left_out: frozenset[str] = frozenset()
    """Records that it was made without, as the shard's `excludeRecords` named them."""
    omissions: Omissions = ()
    """What of the data was not used exactly as given."""


@dataclass(frozen=True)
class Shard:
    """One DataShard of the soup."""

    uid: ShardUID
    name: str
    request: Digest
    """What is asked for: names its training."""
    weight: Fraction = Fraction(1)
    included: bool = True
    alive: bool = True
    """Not being deleted."""
    held: bool = False
    """It has our finalizer, so that it cannot go before it is forgotten."""
    leaving: bool = False
    """Its object is being deleted. Of one that expired the object stays, though it is not alive."""
    is_lost: bool = False
    """Its object went before it was unlearned: somebody took the finalizer away."""
    is_forced: bool = False
    """Its object may go at once: somebody who may asks for it, or did."""
    is_noted: bool = False
    """The Soup has written down what is to be unlearned when its object is gone."""
    requested_at: datetime | None = None
    """When its deletion was recorded: from then on it is tombstoned."""
    expires_at: datetime | None = None
    """When it is to be unlearned, though nobody deletes it."""
    incomplete: int = 0
    """How many receipts of it said that something is missing."""
    last_receipt: int = 0
    """The sequence of its last one; 0 where there is none."""
    receipt_digest: Digest | None = None
    """Digest of its last receipt, once its status says that that one is Complete."""
    source: Digest | None = None
    """Of the place that its data is read from."""
    data: Digest | None = None
    """Of its records, as declared or as read."""
    relearn: str = ""
    """The receipt of earlier data that may come back."""
    trained: TrainingOutcome | None = None
    leave_out: frozenset[str] = frozenset()
    """Records that it is to be trained without."""
    forgot: frozenset[str] = frozenset()
    """Records that it was told to forget, and that are not learnt again."""
    records_asked_at: datetime | None = None
    """When it was noted that records are to leave it; None again once they do for good."""
    former: Ingredient | None = None
    """This is not a shard but one training of it, with records that left it: it is unlearned."""
    successor: str = ""
    """Where `former` is set: the stem of the runs that train the shard without those records."""

    @property
    def goes_by_force(self) -> bool:
        """Whether its object is still there, and is to go before it is unlearned."""
        return self.is_forced and not self.is_lost

    @property
    def leaving_records(self) -> frozenset[str]:
        """Records that are to leave it: something that was made with them may lie there.

        Of a shard that has no ingredient nobody knows what was written before that was asked.
        """
        gone = self.trained.left_out if self.trained else self.forgot
        return self.leave_out - gone if self.alive else frozenset()

    @property
    def stale(self) -> Ingredient | None:
        """What was trained with records that are to leave it: out of every soup at once."""
        if self.trained is None or not self.leaving_records:
            return None
        return Ingredient(self.uid, self.trained.key)

    @property
    def usable(self) -> TrainingOutcome | None:
        """What its training came to, where that may be in a soup."""
        return None if self.stale else self.trained

    @property
    def put_back(self) -> frozenset[str]:
        """Records that it is told to be trained with though they were left out for good."""
        left_out = self.trained.left_out if self.trained else frozenset()
        return frozenset() if self.former else (self.forgot | left_out) - self.leave_out

    @property
    def ingredient(self) -> Ingredient | None:
        """What it puts into a soup."""
        return Ingredient(self.uid, self.usable.key) if self.usable else None

    def is_in(self, lineage: Lineage) -> bool:
        """Whether any training of it is part of that; of a former one, whether it is."""
        if self.former:
            return self.former in lineage
        return self.uid in shards_in(lineage)

    def may_be_written_by(self, run: "Run") -> bool:
        """Whether a run may write something of it."""
        if self.former is None or self.is_in(run.lineage):
            return self.is_in(run.lineage)
        # A training whose key is not known yet, unless it is of what is asked for now.
        any_key = Ingredient(self.former.shard, Digest(""))
        return any_key in run.lineage and run.stem != self.successor


@dataclass(frozen=True)
class Failure:
    """How a run failed."""

    exit_code: int | None
    """None: it was killed, or its node was lost."""
    message: str
    help: str = ""
    at: datetime | None = None
    """When it ended. None: nobody waits before it is tried again."""

    @property
    def is_final(self) -> bool:
        """Whether the same run would fail the same way again."""
        return self.exit_code in FINAL_EXIT_CODES or self.exit_code in {1, 2, 3}


@dataclass(frozen=True)
class StartupBlocker:
    """Why something that was asked for cannot go on, though it has not failed: a person must act.

    An image that cannot be pulled, a Secret that is not there, a pod that fits nowhere.
    """

    reason: Reason
    message: str
    help: str = ""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is, as it says itself."""

    step: int
    total_steps: int
    loss: str = ""
    """The last one, as a decimal string; empty where none was told."""
    phase: str = ""
    """A word or two for people: `encoding`, `training`, `publishing`."""


@dataclass(frozen=True)
class Run:
    """One workload: asked for once, under a name that says what it does."""

    name: RunName
    kind: RunKind
    lineage: Lineage = frozenset()
    """What it may write."""
    result: RunResult | None = None
    failure: Failure | None = None
    hindrance: StartupBlocker | None = None
    """Only of one that is active."""
    advance: TrainingProgress | None = None
    ended_at: datetime | None = None
    """Of one with a result. None: nobody waits before it is looked at again."""
    about: frozenset[ShardUID] = frozenset()
    """UIDs of the shards that it trains, purges or signs for; names of runs shorten them."""

    @property
    def stem(self) -> str:
        """Its name without the number of the attempt."""
        return self.name.rpartition("-")[0]

    @property
    def is_active(self) -> bool:
        """Whether it may still do something."""
        return self.result is None and self.failure is None


@dataclass(frozen=True)
class HeldRevision:
    """A revision as a server names it: which, and what it was made from."""

    recipe: Digest
    lineage: Lineage


@dataclass(frozen=True)
class Server:
    """What one server said of itself. A silent one may hold anything."""

    name: str
    uid: str = ""
    """Of the pod or process; empty: it has not begun. One is never used again."""
    node: str = ""
    boot: str = ""
    answers: bool = True
    ready: bool = False
    epoch: Epoch = Epoch(0)
    granted: Digest | None = None
    """The recipe that its last accepted grant named."""
    prepared: Digest | None = None
    serving: Digest | None = None
    holds: frozenset[HeldRevision] = frozenset()
    problem: str = ""
    nonce: str = field(default="", compare=False)
    """What was drawn to ask it; its answer repeats it."""
    chain: ChainHead | None = field(default=None, compare=False)
    """Where the soup's receipts end in the store that it sees, if it has looked."""
    chain_age_s: float = field(default=0.0, compare=False)
    """How long ago it looked."""

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer, so that nobody knows what it holds."""
        return not self.answers


@dataclass(frozen=True)
class ServerGrant:
    """A server whose first grant was about to be sent: it may hold anything until its end."""

    name: str
    uid: str
    node: str = ""


@dataclass(frozen=True)
class LastRescan:
    """The last look for what came back of what was forgotten."""

    number: int
    at: datetime
    quiet: int
    """How many of the last looks, one after the other, found nothing."""
    unrecorded: tuple[int, ...] = ()
    """Receipts, by sequence, that the store had then and that had no object."""


@dataclass(frozen=True)
class RecordedReceipt:
    """The object of a receipt that was signed and stored."""

    name: str
    shard: ShardUID
    sequence: int
    is_complete: bool = True
    digest: Digest | None = None
    """Digest of the signed envelope."""
    source: Digest | None = None
    data: Digest | None = None
    requested_at: datetime | None = None
    """When the unlearning was asked for."""
    signed_at: datetime | None = None


@dataclass(frozen=True)
class Soup:
    """The Soup object."""

    uid: SoupUID
    name: str
    alive: bool = True
    """Its object is not being deleted."""
    held: bool = True
    """It has our finalizer, so that it cannot go before its shards are forgotten."""
    receipts: int = 0
    """The number of the last receipt that its status, or a receipt's object, knows."""
    head: Digest | None = None
    """Of the last receipt that its status knows."""
    collection: LastRescan | None = None
    """None: nobody has looked yet."""
    suspended: bool = False
    min_shards: int = 1
    settle_s: int = 0
    parallelism: int = 2
    max_attempts: int = 3
    output: str = "fp16"
    weighting: Weighting | UnusablePlugin = field(default_factory=UnusablePlugin)
    weighting_name: str = ""
    """The name of the weighting in the Soup, for messages."""
    unknown: UnusablePlugin | None = None
    """Why no shard can be trained: the soup names a method or an option that there is not."""
    evaluates: bool = False
    replicas: int = 1
    base: Digest | None = None
    """Declared, or recorded at first use; never allowed to drift."""
    current: Promotion | None = None
    epoch: Epoch = Epoch(0)
    """Of the last promotion, though its revision's object be gone."""
    promotions: int = 0
    """How many times a soup, rather than the base, was promoted."""
    made: tuple[Revision, ...] = ()
    evaluated: frozenset[Digest] = frozenset()
    """Recipes whose figures are known."""
    deadline_s: int = 3600
    """How long an unlearning waits for what does not answer."""
    scales_to_zero: bool = False
    """Whether nobody serves any more once the last shard is gone."""
    granted: tuple[ServerGrant, ...] = ()
    """Every server that was ever granted anything, and whose end was not seen to be confirmed."""


@dataclass(frozen=True)
class World:
    """One soup with its shards, runs, servers and receipts, as they were seen."""

    soup: Soup
    shards: tuple[Shard, ...] = ()
    runs: tuple[Run, ...] = ()
    servers: tuple[Server, ...] = ()
    replicas: int = 0
    """How many servers were asked for."""
    is_as_told: bool = True
    """Whether what was asked for is still as we asked: nobody edited it, no newer version did."""
    hindrance: StartupBlocker | None = None
    """Why servers that were asked for cannot start."""
    ended: frozenset[str] = frozenset()
    """UIDs of granted servers whose end is confirmed."""
    endings: Mapping[str, Ending] = field(default_factory=dict, compare=False)
    """By what it is, for receipts."""
    receipts: tuple[RecordedReceipt, ...] = ()
    """All of the soup's that are stored, signed and recorded."""
    former_of_dying: frozenset[ShardUID] = frozenset()
    """Former trainings that are unlearned with their shard, which is being deleted by now."""
    namespace_terminates: bool = False
    """The API server refused to create an object, because the namespace is being deleted."""

    def run(self, name: RunName) -> Run | None:
        """The run of that name, if there is one."""
        return next((run for run in self.runs if run.name == name), None)

    def runs_with(self, shard: Shard) -> tuple[Run, ...]:
        """Every run that may write something of the shard, or that ended but still stands."""
        return tuple(run for run in self.runs if shard.may_be_written_by(run))

    @cached_property
    def receipted(self) -> frozenset[ShardUID]:
        """UIDs of shards whose own receipt is recorded and says that nothing is missing.

        It is recorded once its object is there, with the digest that the shard's status names where
        it names one. Where the namespace terminates no object can be created: there the shard's own
        status is the record.
        """
        named_digests = {
            (shard.uid, shard.last_receipt): shard.receipt_digest
            for shard in self.shards
            if shard.receipt_digest
        }
        recorded = {
            receipt.shard
            for receipt in self.receipts
            if receipt.is_complete
            and named_digests.get((receipt.shard, receipt.sequence)) in {None, receipt.digest}
        }
        named = {
            shard.uid
            for shard in self.shards
            if self.namespace_terminates and shard.last_receipt and shard.receipt_digest
        }
        return frozenset(recorded | named)

    @property
    def vanished(self) -> tuple[ServerGrant, ...]:
        """Servers that were granted something, are not to be seen, and whose end is not known."""
        seen = {server.uid for server in self.servers} | self.ended
        return tuple(one for one in self.soup.granted if one.uid not in seen)

    def forgotten_by(self, shard: Shard) -> RecordedReceipt | None:
        """The receipt that keeps its data from being learnt once more, unless it is named.

        What was learnt before that unlearning was asked for is another donor's: it stays.
        """
        if not shard.alive:
            return None
        since = shard.trained.at if shard.trained else None
        equal = {
            one
            for digest in (shard.source, shard.data)
            for one in self._receipts_of.get(digest, ())
        }
        same = [
            one
            for one in equal
            if one.shard != shard.uid
            and not (since and one.requested_at and since < one.requested_at)
        ]
        last = max(same, key=lambda one: one.sequence, default=None)
        # An unlearning may have several receipts: to name any of them is to name it.
        named = {one.shard for one in same if one.name == shard.relearn}
        return None if last is None or last.shard in named else last

    @cached_property
    def _receipts_of(self) -> Mapping[Digest | None, Sequence[RecordedReceipt]]:
        """Receipts by what data they are of: its source, or its records."""
        found: dict[Digest | None, list[RecordedReceipt]] = {}
        for receipt in self.receipts:
            for digest in {receipt.source, receipt.data} - {None}:
                found.setdefault(digest, []).append(receipt)
        return found

    def may_be_granted(self, server: Server) -> bool:
        """Whether it is written down that it may hold something from now on."""
        return any(one.uid == server.uid for one in self.soup.granted)

    def made(self, recipe: Recipe) -> Revision | None:
        """The revision of that recipe, where it was merged before."""
        return next((one for one in self.soup.made if one.recipe == recipe), None)

    @property
    def serving_recipe(self) -> Recipe | None:
        """What was promoted last."""
        return self.soup.current.revision.recipe if self.soup.current else None

    @property
    def next_epoch(self) -> Epoch:
        """Above all that anybody knows: a soup's status may have come back from a backup."""
        known = self.soup.current.epoch if self.soup.current else 0
        return Epoch(1 + max((known, self.soup.epoch, *(server.epoch for server in self.servers))))

    def is_current(self, recipe: Recipe) -> bool:
        """Whether it is promoted, under an epoch at which no server was told anything else."""
        current = self.soup.current
        if current is None or current.revision.recipe != recipe:
            return False
        return all(
            server.epoch < current.epoch
            or (server.epoch == current.epoch and server.granted in {recipe.digest, None})
            for server in self.servers
        )

    def is_serving(self, server: Server) -> bool:
        """Whether it answers with what was promoted last, and has heard nothing older since."""
        current = self.soup.current
        return (
            current is not None
            and server.answers
            and server.epoch == current.epoch
            and server.serving == current.revision.recipe.digest
        )

    def is_clean(self, lineage: Lineage) -> bool:
        """Whether every ingredient is a living shard's. What is unknown is not clean.

        Asked this way round, a shard whose finalizer somebody took away by force counts as
        deleted, and so does one that a late write brings back.
        """
        return lineage <= self._living

    @cached_property
    def _living(self) -> frozenset[Ingredient | None]:
        return frozenset(shard.ingredient for shard in self.shards if shard.alive)

    @cached_property
    def attempts(self) -> Mapping[str, Sequence[tuple[int, Run]]]:
        """Runs by the stem of their names, with the number of the attempt; the oldest first."""
        found: dict[str, list[tuple[int, Run]]] = {}
        for run in self.runs:
            _, _, attempt = run.name.rpartition("-")
            if attempt.isdecimal():
                found.setdefault(run.stem, []).append((int(attempt), run))
        return {stem: sorted(runs, key=lambda one: one[0]) for stem, runs in found.items()}
