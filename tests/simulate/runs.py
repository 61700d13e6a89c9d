"""Simulated runs: what each verb does to the store, and how a run ends.

Runs read tombstones at their start and before they publish, as the real ones do. A requested end is
confirmed only later; until then a process may still write.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from tests.builders import a_result
from tests.simulate.records import RECORDS, records_without
from tests.simulate.store import Store

from stockpot.api.conditions import Reason
from stockpot.api.results import (
    CompareResult,
    RunResult,
    SharedRecords,
    SignedReceipt,
    SignResult,
    TrainResult,
)
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import (
    CompareRun,
    EvaluateRun,
    FindRun,
    MergeRun,
    PurgeRun,
    ReceiptRequest,
    RunSpec,
    ServeRun,
    SignRun,
    TrainRun,
    shards_of_spec,
)
from stockpot.core.digests import Digest, digest_of_bytes, digest_of_json
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, former_of
from stockpot.core.runs import Failure, Run, RunName, StartupBlocker
from stockpot.errors import ExitCode
from stockpot.unlearning.unlearned_records import returning_pictures

BASE = digest_of_bytes(b"base")
NO_IMAGE = StartupBlocker(Reason.IMAGE_UNAVAILABLE, "the image x:1 is not there", "push it")
FORGOTTEN = Failure(47, "a tombstone stands for it")


@dataclass
class Workload:
    """A run, as its process knows it."""

    spec: RunSpec
    lineage: Lineage
    outcome: RunResult | Failure | None = None
    hidden: RunResult | Failure | None = None
    """Its result, while neither its Job nor its pod reports it yet."""
    ended_at: datetime | None = None
    is_cleared: bool = False
    """It has read the tombstones for the last time, and publishes whatever comes."""
    is_ending: bool = False
    """Its end was requested, and no kubelet has confirmed it."""
    settings: int = 0
    """The number of the settings that its pod was made from."""
    startup_blocker: StartupBlocker | None = None
    """Why it does not start."""

    @property
    def may_end(self) -> bool:
        """Whether its process runs, so that it may come to a result."""
        return self.outcome is None and self.hidden is None and self.startup_blocker is None


@dataclass
class Runs:
    """Every run of a cluster, and those whose objects are gone."""

    store: Store
    known: dict[RunName, Workload] = field(default_factory=dict)
    frozen: dict[RunName, Workload] = field(default_factory=dict)
    """Writers that are suspended on nodes that do not answer."""
    trained: list[str] = field(default_factory=list)
    now: datetime | None = None
    """By the signer's clock."""
    settings: int = 0
    """The number of the admin's settings; each change makes other pods."""
    is_short: bool = False
    """Whether the settings lack what every run needs, as an image that can be pulled."""
    late: set[str] = field(default_factory=set)
    """Artifacts that resumed writers wrote: no grant names them, and a rescan removes them."""
    late_receipts: set[int] = field(default_factory=set)
    """Sequences of receipts that resumed writers signed."""

    def observed(self) -> tuple[Run, ...]:
        """Return the runs as an operator observes them."""
        return tuple(
            Run(
                name,
                work.spec.kind,
                work.lineage,
                result=work.outcome if isinstance(work.outcome, RunResult) else None,
                failure=work.outcome if isinstance(work.outcome, Failure) else None,
                startup_blocker=work.startup_blocker if work.outcome is None else None,
                is_outdated=work.settings != self.settings,
                ended_at=work.ended_at,
                about=about(work.spec),
            )
            for name, work in sorted(self.known.items())
        )

    def begin(self, name: RunName, lineage: Lineage, spec: RunSpec) -> None:
        """Start a run, unless one of its name exists, as a Job that is still ending does."""
        blocker = NO_IMAGE if self.is_short else None
        work = Workload(spec, lineage, settings=self.settings, startup_blocker=blocker)
        self.known.setdefault(name, work)

    def change_settings(self, *, is_short: bool) -> None:
        """Change the admin's settings; what waits or failed was made from the earlier ones."""
        self.settings += 1
        self.is_short = is_short

    def active(self, kind: RunKind | None = None) -> list[RunName]:
        return sorted(
            name
            for name, work in self.known.items()
            if work.may_end
            if kind is None or work.spec.kind is kind
        )

    def hidden(self) -> list[RunName]:
        return sorted(name for name, work in self.known.items() if work.hidden is not None)

    def ending(self) -> list[RunName]:
        return sorted(name for name, work in self.known.items() if work.is_ending)

    def finish(self, name: RunName, now: datetime) -> None:
        """Let a run end with its result."""
        work = self.known[name]
        self.now = now
        work.outcome, work.ended_at = self.outcome_of(work.spec, is_cleared=work.is_cleared), now

    def finish_unseen(self, name: RunName, now: datetime) -> None:
        """Let a run end; its Job does not report it yet."""
        work = self.known[name]
        self.now = now
        work.hidden = self.outcome_of(work.spec, is_cleared=work.is_cleared)

    def reveal(self, name: RunName, now: datetime) -> None:
        """Let the Job report how the run ended."""
        work = self.known[name]
        work.outcome, work.hidden, work.ended_at = work.hidden, None, now

    def confirm_end(self, name: RunName) -> None:
        """Confirm that the last process ended. An unobserved training may be run again."""
        work = self.known.pop(name)
        if isinstance(work.spec, TrainRun) and isinstance(work.hidden, TrainResult):
            made = f"shards/{work.spec.shard.uid}/{work.hidden.training_key}"
            self.trained = [place for place in self.trained if place != made]

    def crash(self, name: RunName, now: datetime, written: int = 0) -> None:
        """Kill a run; one that signs may have written some of its receipts."""
        spec = self.known[name].spec
        for request in spec.receipts[:written] if isinstance(spec, SignRun) else ():
            self.sign_one(request)
        self.known[name].outcome = Failure(None, "killed", at=now)

    def end_all(self) -> None:
        """Request the end of every run in the soup's namespace; unlearning runs are in another."""
        for work in self.known.values():
            work.is_ending = work.is_ending or is_in_namespace(work.spec)

    def freeze(self, name: RunName) -> None:
        """Suspend a writer on a node that stops answering; its pod is deleted by force."""
        self.frozen[name] = self.known.pop(name)

    def thaw(self, name: RunName) -> None:
        """Resume a suspended writer, unobserved."""
        work = self.frozen.pop(name)
        before, trained = set(self.store.artefacts), list(self.trained)
        receipts = len(self.store.receipts)
        self.outcome_of(work.spec, is_cleared=work.is_cleared)
        self.late_receipts |= set(range(receipts + 1, len(self.store.receipts) + 1))
        self.late |= set(self.store.artefacts) - before
        self.trained = trained

    def outcome_of(self, spec: RunSpec, *, is_cleared: bool = False) -> RunResult | Failure:
        """Do the work of a run; where it is cleared, it read the tombstones long ago."""
        if self.store.is_away and not is_cleared:
            return Failure(ExitCode.STORAGE, "the store does not answer", at=self.now)
        return self._outcome_of(spec, is_cleared)

    def _outcome_of(self, spec: RunSpec, is_cleared: bool) -> RunResult | Failure:
        match spec:
            case TrainRun():
                return self._train(spec, is_cleared)
            case MergeRun():
                return self._merge(spec, is_cleared)
            case PurgeRun():
                return self._rescan(spec) if spec.shard is None else self._purge(spec)
            case SignRun():
                return self._sign(spec)
            case FindRun():
                return search_records(spec)
            case CompareRun():
                return self._compare(spec)
            case EvaluateRun() | ServeRun():
                return a_result(spec.kind)

    def _rescan(self, spec: PurgeRun) -> RunResult:
        unrecorded = tuple(
            number
            for number in range(1, len(self.store.receipts) + 1)
            if not any(first <= number <= last for first, last in spec.recorded_receipts)
        )
        return a_result(
            RunKind.RESCAN,
            purged_objects=self.store.collect(spec.forgotten, spec.kept),
            unrecorded_receipts=unrecorded[:16],
        )

    def _purge(self, spec: PurgeRun) -> RunResult | Failure:
        assert spec.shard
        former = spec.former
        if former and former.left_out < self.store.least.get(former.shard, 0):
            return Failure(4, "more records have left since it was asked for")
        count = self.store.purge(spec.shard.uid, spec.former)
        return a_result(RunKind.PURGE, purged_objects=count, residual_count=self.store.strays)

    def _train(self, spec: TrainRun, is_cleared: bool) -> RunResult | Failure:
        uid = spec.shard.uid
        data = [spec.source.path, *(name for name in spec.exclude_records if name in RECORDS)]
        # Names that left before need not be there any more; nor those that never were.
        if any(name not in {*RECORDS, *spec.gone_records} for name in spec.exclude_records):
            return Failure(42, "there is no such record")
        key = digest_of_json("key", [spec.source.path, *spec.exclude_records])
        lineage = lineage_of(uid, key)
        place = f"shards/{uid}/{key}"
        is_done = place in self.store.artefacts  # Its work is done: it reports that, and ends.
        is_late = len(spec.exclude_records) < self.store.least.get(uid, 0) and not is_cleared
        if is_late or not self.store.publish(place, lineage, is_cleared=is_cleared):
            return FORGOTTEN
        self.store.left_out[place] = len(spec.exclude_records)
        self.store.records[place] = records_without(spec.shard.name, spec.exclude_records)
        if not is_done:
            self.trained.append(place)
        return a_result(
            RunKind.TRAIN,
            training_key=key,
            weights_digest=digest_of_json("weights", data),
            base_digest=BASE,
            data_digest=digest_of_json("data", data),
            records=1,
        )

    def _compare(self, spec: CompareRun) -> RunResult:
        """Compare as the real run does, with the real lists of what was unlearned."""
        own = self.store.pictures(spec.shard.uid, spec.training_key)
        shared = {
            other.shard: len(common)
            for other in spec.others
            if (common := own & self.store.pictures(other.shard, other.training_key))
        }
        leaving = {
            each.unlearned: self.store.listed_pictures(each.shard, each.names)
            for each in spec.leaving
        }
        before = returning_pictures(own, self.store.unlearned_lists(), leaving)
        returning = Counter(before.values())
        return CompareResult(
            records=len(own),
            shared=tuple(SharedRecords(shard=uid, records=n) for uid, n in shared.items()),
            shard_count=len(shared),
            returning=tuple(
                SharedRecords(shard=uid, records=number) for uid, number in returning.items()
            ),
            returning_count=len(returning),
        )

    def _merge(self, spec: MergeRun, is_cleared: bool) -> RunResult | Failure:
        pairs = [(part.shard_uid, part.training_key) for part in spec.parts]
        lineage = frozenset(uid for pair in pairs for uid in lineage_of(*pair))
        place = f"revisions/{spec.recipe_digest}"
        there = (f"shards/{uid}/{key}" in self.store.artefacts for uid, key in pairs)
        if not is_cleared and not all(there):  # Else it has read them all.
            return Failure(46, "an ingredient is not there")
        if not self.store.publish(place, lineage, is_cleared=is_cleared):
            return FORGOTTEN
        return a_result(RunKind.MERGE, weights_digest=merged_digest(spec), base_digest=BASE)

    def _sign(self, spec: SignRun) -> SignResult:
        """Find the requested receipts, or write the next ones of the chain."""
        missing = dict.fromkeys(text for request in spec.receipts for text in request.missing)
        receipts = []
        for request in spec.receipts:
            if receipt := self.sign_one(request):
                named = tuple(list(missing).index(text) for text in request.missing)
                receipts.append(receipt.model_copy(update={"missing_named": named}))
        return SignResult(receipts=tuple(receipts), missing=tuple(missing))

    def sign_one(self, request: ReceiptRequest) -> SignedReceipt | None:
        """Find one receipt, or write the next of the chain."""
        uid, chain = request.shard.uid, self.store.receipts
        places = [
            place
            for place, (shard, complete) in enumerate(chain, start=1)
            if shard == uid and (complete or place > request.after)
        ]
        if not places and request.is_only_looked_for:
            return None
        if not places:
            chain.append((uid, not (self.store.strays or request.missing)))
            places = [len(chain)]
        sequence = places[-1]
        return SignedReceipt(
            shard=uid,
            sequence=sequence,
            digest=digest_of_json("receipt", sequence),
            previous=digest_of_json("receipt", sequence - 1) if sequence > 1 else None,
            signed_at=self.now.strftime("%Y-%m-%dT%H:%M:%SZ") if self.now else "",
            missing=0 if chain[sequence - 1][1] else 1,
        )


def search_records(spec: FindRun) -> RunResult:
    """Return which of the names are those of records."""
    unknown = [name for name in spec.names if name not in RECORDS]
    return a_result(
        RunKind.FIND,
        records=9,
        covered=len(spec.names) - len(unknown),
        unknown=tuple(unknown),
        unknown_count=len(unknown),
    )


def lineage_of(uid: str, key: str) -> frozenset[str]:
    """Return the UIDs that a tombstone may have: of a shard, or of one training of it."""
    return frozenset({uid, former_of(Ingredient(ShardUID(uid), Digest(key)))})


def is_in_namespace(spec: RunSpec) -> bool:
    """Whether a run is in its soup's namespace, rather than the operator's."""
    return not isinstance(spec, PurgeRun | SignRun | FindRun | CompareRun)


def about(spec: RunSpec) -> frozenset[ShardUID]:
    """Return the UIDs that a run trains, purges or signs for."""
    return frozenset(map(ShardUID, shards_of_spec(spec.model_dump(mode="json", by_alias=True))))


def merged_digest(spec: MergeRun) -> str:
    """Return a digest that depends on ingredients and weights alone, as the bytes of a merge do."""
    parts = sorted([part.weights_digest, str(part.weight)] for part in spec.parts)
    return digest_of_json("merged", parts)
