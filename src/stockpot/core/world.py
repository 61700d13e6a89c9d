"""One soup with its shards, runs, servers and receipts: what one round decides about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stockpot.api.runspec import Ending
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, Recipe, ShardUID
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.revision import Epoch, Revision
from stockpot.core.runs import Run, RunName, StartupBlocker
from stockpot.core.servers import Server, ServerGrant
from stockpot.core.shard import Shard
from stockpot.core.soup import Soup
from stockpot.core.unlearning_target import UnlearningTarget


@dataclass(frozen=True)
class World:
    """One soup with its shards, runs, servers and receipts, as they were seen."""

    soup: Soup
    shards: tuple[Shard, ...] = ()
    """Those that live: neither deleted nor expired."""
    targets: tuple[UnlearningTarget, ...] = ()
    """What is to be unlearned."""
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

    def runs_with(self, target: UnlearningTarget) -> tuple[Run, ...]:
        """Every run that may write something of the target, or that ended but still stands."""
        return tuple(run for run in self.runs if target.may_be_written_by(run))

    @cached_property
    def names(self) -> Mapping[ShardUID, str]:
        """Names of all shards and targets, by UID."""
        shards = {shard.uid: shard.name for shard in self.shards}
        return shards | {target.uid: target.name for target in self.targets}

    @cached_property
    def receipted(self) -> frozenset[ShardUID]:
        """UIDs of targets whose own receipt is recorded and says that nothing is missing.

        It is recorded once its object is there, with the digest that the shard's status names where
        it names one. Where the namespace terminates no object can be created: there the shard's own
        status is the record.
        """
        named_digests = {
            (target.uid, target.last_receipt): target.receipt_digest
            for target in self.targets
            if target.receipt_digest
        }
        recorded = {
            receipt.shard
            for receipt in self.receipts
            if receipt.is_complete
            and named_digests.get((receipt.shard, receipt.sequence)) in {None, receipt.digest}
        }
        named = {
            target.uid
            for target in self.targets
            if self.namespace_terminates and target.last_receipt and target.receipt_digest
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
        return frozenset(shard.ingredient for shard in self.shards)

    @cached_property
    def attempts(self) -> Mapping[str, Sequence[tuple[int, Run]]]:
        """Runs by the stem of their names, with the number of the attempt; the oldest first."""
        found: dict[str, list[tuple[int, Run]]] = {}
        for run in self.runs:
            stem, _, attempt = run.name.rpartition("-")
            if attempt.isdecimal():
                found.setdefault(stem, []).append((int(attempt), run))
        return {stem: sorted(runs, key=lambda one: one[0]) for stem, runs in found.items()}
