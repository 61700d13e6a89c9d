"""One soup with its shards, runs, servers and receipts: what one round decides about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import itemgetter

from stockpot.api.server_reports import Ending
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, Lineage, Recipe, ShardUID
from stockpot.core.recorded_receipt import RecordedReceipt
from stockpot.core.revision import Epoch, Revision
from stockpot.core.runs import Run, RunName, StartupBlocker
from stockpot.core.servers import Server, ServerGrant
from stockpot.core.shard import Comparison, Shard
from stockpot.core.soup import Soup
from stockpot.core.unlearning_target import ShardObject, UnlearningTarget


@dataclass(frozen=True)
class World:
    """One soup with its shards, targets, runs, servers and receipts, as one round observed them."""

    soup: Soup
    shards: tuple[Shard, ...] = ()
    """DataShards that are neither deleted nor expired."""
    targets: tuple[UnlearningTarget, ...] = ()
    """What is to be unlearned."""
    runs: tuple[Run, ...] = ()
    servers: tuple[Server, ...] = ()
    replicas: int = 0
    """How many servers are requested."""
    is_as_declared: bool = True
    """Whether the servers' workload is as we declare it: it has not drifted."""
    is_rolled_out: bool = True
    """Whether all servers run as the workload declares: none of an earlier template is left."""
    startup_blocker: StartupBlocker | None = None
    """Why requested servers cannot start."""
    ended: frozenset[str] = frozenset()
    """UIDs of granted servers whose end is confirmed."""
    endings: Mapping[str, Ending] = field(default_factory=dict, compare=False)
    """How each confirmed end is known, for receipts."""
    receipts: tuple[RecordedReceipt, ...] = ()
    """All receipts of the soup that are signed, stored and recorded."""
    former_of_dying: frozenset[ShardUID] = frozenset()
    """UIDs of past trainings whose shard is being deleted: they are unlearned with it."""
    namespace_terminates: bool = False
    """The namespace is being deleted: no object can be created in it."""
    has_ledger: bool = False
    """Whether what is owed can be written elsewhere: on a cluster, into the operator's namespace.
    """

    def run(self, name: RunName) -> Run | None:
        """Return the run of a name, if there is one."""
        return next((run for run in self.runs if run.name == name), None)

    def runs_with(self, target: UnlearningTarget) -> tuple[Run, ...]:
        """Return every run that may write an artifact of the target, ended ones too."""
        return tuple(run for run in self.runs if target.may_be_written_by(run))

    @cached_property
    def names(self) -> Mapping[ShardUID, str]:
        """Names of all shards and targets, by UID."""
        shards = {shard.uid: shard.name for shard in self.shards}
        return shards | {target.uid: target.name for target in self.targets}

    @cached_property
    def receipted(self) -> frozenset[ShardUID]:
        """UIDs of targets whose own receipt is recorded and Complete.

        The record is its object, with the digest that the target's status names where it names one.
        Where the namespace terminates no object can be created: there the status is the record.
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

    @cached_property
    def comparisons(self) -> Mapping[ShardUID, Comparison]:
        """Comparisons of shards, also of those that are being unlearned, by UID."""
        objects = (t.owner.shard for t in self.targets if isinstance(t.owner, ShardObject))
        known = (*self.shards, *objects)
        return {shard.uid: shard.comparison for shard in known if shard.comparison}

    @cached_property
    def overlaps(self) -> Mapping[ShardUID, Mapping[ShardUID, int]]:
        """By UID of a shard or target, the living shards that share records, with their number."""
        return self._both_ways({uid: each.shared for uid, each in self.comparisons.items()})

    @cached_property
    def similarities(self) -> Mapping[ShardUID, Mapping[ShardUID, int]]:
        """By UID, the living shards with pictures that look alike and are other files."""
        return self._both_ways({uid: each.similar for uid, each in self.comparisons.items()})

    def _both_ways(
        self, pairs: Mapping[ShardUID, Sequence[tuple[ShardUID, int]]]
    ) -> Mapping[ShardUID, Mapping[ShardUID, int]]:
        """Read pairs of shards from either; only those are named which live."""
        living = {shard.uid for shard in self.shards if shard.ingredient}
        known: dict[ShardUID, dict[ShardUID, int]] = {}
        for uid, others in pairs.items():
            for other, number in others:
                for owner, named in ((uid, other), (other, uid)):
                    if named in living:
                        of_owner = known.setdefault(owner, {})
                        of_owner[named] = max(number, of_owner.get(named, 0))
        return known

    @property
    def active_trainings(self) -> int:
        """Number of training runs that are active, which training.parallelism limits."""
        return sum(1 for run in self.runs if run.is_active and run.name.startswith("train-"))

    @property
    def vanished(self) -> tuple[ServerGrant, ...]:
        """Servers with a grant that are not observed and whose end is not confirmed."""
        known = {server.uid for server in self.servers} | self.ended
        return tuple(grant for grant in self.soup.granted if grant.uid not in known)

    def forgotten_by(self, shard: Shard) -> RecordedReceipt | None:
        """Return the receipt that keeps the shard's data from being trained on again.

        None where `spec.relearn` names it. Data that was trained on before that unlearning was
        requested belongs to another donor, and stays.
        """
        since = shard.taught_since
        equal = {
            receipt
            for digest in (shard.source, shard.data)
            for receipt in self._receipts_of.get(digest, ())
        }
        same = [
            receipt
            for receipt in equal
            if receipt.shard != shard.uid
            and not (since and receipt.requested_at and since < receipt.requested_at)
        ]
        last = max(same, key=lambda receipt: receipt.sequence, default=None)
        # An unlearning may have several receipts: any of them may be named.
        named = {receipt.shard for receipt in same if receipt.name in shard.relearn}
        return None if last is None or last.shard in named else last

    @cached_property
    def unlearning_requests(self) -> Mapping[ShardUID, datetime | None]:
        """When each target was requested, by its UID."""
        return {target.uid: target.requested_at for target in self.targets}

    @cached_property
    def receipts_by_shard(self) -> Mapping[ShardUID, Sequence[RecordedReceipt]]:
        """Receipts by the UID of what was unlearned."""
        by_shard: dict[ShardUID, list[RecordedReceipt]] = {}
        for receipt in self.receipts:
            by_shard.setdefault(receipt.shard, []).append(receipt)
        return by_shard

    @cached_property
    def _receipts_of(self) -> Mapping[Digest | None, Sequence[RecordedReceipt]]:
        """Receipts by the data that they cover: its source, or its records."""
        by_data: dict[Digest | None, list[RecordedReceipt]] = {}
        for receipt in self.receipts:
            for digest in {receipt.source, receipt.data} - {None}:
                by_data.setdefault(digest, []).append(receipt)
        return by_data

    def may_be_granted(self, server: Server) -> bool:
        """Whether the server is recorded, so that it may be granted something."""
        return any(grant.uid == server.uid for grant in self.soup.granted)

    def made(self, recipe: Recipe) -> Revision | None:
        """Return the revision of a recipe, where it was merged before."""
        return next((revision for revision in self.soup.made if revision.recipe == recipe), None)

    @property
    def serving_recipe(self) -> Recipe | None:
        """The recipe that was promoted last."""
        return self.soup.current.revision.recipe if self.soup.current else None

    @property
    def next_epoch(self) -> Epoch:
        """An epoch above all known ones: the soup's status may have been restored from a backup."""
        known = self.soup.current.epoch if self.soup.current else 0
        return Epoch(1 + max((known, self.soup.epoch, *(server.epoch for server in self.servers))))

    def is_current(self, recipe: Recipe) -> bool:
        """Whether a recipe is promoted, under an epoch at which no server was granted another."""
        current = self.soup.current
        if current is None or current.revision.recipe != recipe:
            return False
        return all(
            server.epoch < current.epoch
            or (server.epoch == current.epoch and server.granted in {recipe.digest, None})
            for server in self.servers
        )

    def is_serving(self, server: Server) -> bool:
        """Whether a server serves what was promoted last, under the current epoch."""
        current = self.soup.current
        return (
            current is not None
            and server.answers
            and server.epoch == current.epoch
            and server.serving == current.revision.recipe.digest
        )

    def is_clean(self, lineage: Lineage) -> bool:
        """Whether every ingredient is that of a shard in this world. Unknown ones are not clean.

        So a shard whose finalizer was removed by hand counts as deleted, and so does one that a
        late write resurrects.
        """
        return lineage <= self._living

    @cached_property
    def _living(self) -> frozenset[Ingredient | None]:
        return frozenset(shard.ingredient for shard in self.shards)

    @cached_property
    def retried(self) -> Mapping[str, int]:
        """By the stem of runs, the number of the last attempt before a person's last request."""
        requests = (self.soup.retry, *(shard.retry for shard in self.shards))
        names = (name.rpartition("-") for request in requests for name in request.runs)
        return {stem: int(number) for stem, _, number in names if number.isdecimal()}

    @cached_property
    def attempts(self) -> Mapping[str, Sequence[tuple[int, Run]]]:
        """Runs by the stem of their names, with the number of the attempt; the oldest first."""
        by_stem: dict[str, list[tuple[int, Run]]] = {}
        for run in self.runs:
            _, _, attempt = run.name.rpartition("-")
            if attempt.isdecimal():
                by_stem.setdefault(run.stem, []).append((int(attempt), run))
        return {stem: sorted(runs, key=itemgetter(0)) for stem, runs in by_stem.items()}
