"""Runs as their processes know them: what each verb does to the store, and how one ends.

They read tombstones at their start and before they publish, as the real ones do. An end that was
asked for is confirmed only later; until then a process may still do what it was about to.
"""

from dataclasses import dataclass, field
from datetime import datetime

from tests.builders import a_result
from tests.simulate.store import Store

from stockpot.api.results import RunResult, SignedReceipt, SignResult, TrainResult
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import (
    EvaluateRun,
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
from stockpot.core.runs import Failure, Run, RunName

BASE = digest_of_bytes(b"base")
RECORDS = ("first", "second")
"""What each shard's data has, beside others that nobody names."""
FORGOTTEN = Failure(47, "a tombstone stands for it")


@dataclass
class Workload:
    """A run, as its process knows it."""

    spec: RunSpec
    lineage: Lineage
    outcome: RunResult | Failure | None = None
    hidden: RunResult | Failure | None = None
    """It has ended, and neither its Job nor its pod says so yet."""
    ended_at: datetime | None = None
    is_cleared: bool = False
    """It has looked for tombstones a last time, and publishes whatever comes."""
    is_ending: bool = False
    """It was asked to end; no kubelet has confirmed that it did."""


@dataclass
class Runs:
    """Every run of a kitchen, and those of which nobody knows any more."""

    store: Store
    known: dict[RunName, Workload] = field(default_factory=dict)
    frozen: dict[RunName, Workload] = field(default_factory=dict)
    """Writers that were stopped in the middle, on nodes that do not answer."""
    trained: list[str] = field(default_factory=list)
    now: datetime | None = None
    """By the signer's clock."""
    late: set[str] = field(default_factory=set)
    """What those wrote who woke up, unseen: nobody is granted it, and it is looked for."""
    late_receipts: set[int] = field(default_factory=set)
    """Receipts that those signed, by sequence."""

    def seen(self) -> tuple[Run, ...]:
        """All that an operator can see of them."""
        return tuple(
            Run(
                name,
                one.spec.kind,
                one.lineage,
                result=one.outcome if isinstance(one.outcome, RunResult) else None,
                failure=one.outcome if isinstance(one.outcome, Failure) else None,
                ended_at=one.ended_at,
                about=about(one.spec),
            )
            for name, one in sorted(self.known.items())
        )

    def active(self, kind: RunKind | None = None) -> list[RunName]:
        return sorted(
            name
            for name, workload in self.known.items()
            if workload.outcome is None and workload.hidden is None
            if kind is None or workload.spec.kind is kind
        )

    def hidden(self) -> list[RunName]:
        return sorted(name for name, one in self.known.items() if one.hidden is not None)

    def ending(self) -> list[RunName]:
        return sorted(name for name, one in self.known.items() if one.is_ending)

    def finish(self, name: RunName, now: datetime) -> None:
        """Let it do what it was told, to its end."""
        work = self.known[name]
        self.now = now
        work.outcome, work.ended_at = self.outcome_of(work.spec, is_cleared=work.is_cleared), now

    def finish_unseen(self, name: RunName, now: datetime) -> None:
        """Let it do what it was told; its Job does not say so yet."""
        work = self.known[name]
        self.now = now
        work.hidden = self.outcome_of(work.spec, is_cleared=work.is_cleared)

    def reveal(self, name: RunName, now: datetime) -> None:
        """Its Job says how it ended."""
        work = self.known[name]
        work.outcome, work.hidden, work.ended_at = work.hidden, None, now

    def confirm_end(self, name: RunName) -> None:
        """Its last process has ended. What it made may be made again, where nobody ever saw it."""
        work = self.known.pop(name)
        if isinstance(work.spec, TrainRun) and isinstance(work.hidden, TrainResult):
            made = f"shards/{work.spec.shard.uid}/{work.hidden.training_key}"
            self.trained = [place for place in self.trained if place != made]

    def crash(self, name: RunName, written: int = 0) -> None:
        """Kill a run; one that signs may have written some of its receipts."""
        spec = self.known[name].spec
        for request in spec.receipts[:written] if isinstance(spec, SignRun) else ():
            self.sign_one(request)
        self.known[name].outcome = Failure(None, "killed")

    def end_all(self) -> None:
        """The namespace ends: every run in it is asked to end; what unlearns is in another one."""
        for work in self.known.values():
            work.is_ending = work.is_ending or is_in_namespace(work.spec)

    def freeze(self, name: RunName) -> None:
        """A node stops answering with a writer on it; somebody deletes its pod by force."""
        self.frozen[name] = self.known.pop(name)

    def thaw(self, name: RunName) -> None:
        """What was stopped goes on, and does what it still meant to, unseen."""
        work = self.frozen.pop(name)
        before, trained = set(self.store.artefacts), list(self.trained)
        receipts = len(self.store.receipts)
        self.outcome_of(work.spec, is_cleared=work.is_cleared)
        self.late_receipts |= set(range(receipts + 1, len(self.store.receipts) + 1))
        self.late |= set(self.store.artefacts) - before
        self.trained = trained

    def outcome_of(self, spec: RunSpec, *, is_cleared: bool = False) -> RunResult | Failure:
        """Do what a run does; where it is cleared, it read the tombstones long ago."""
        match spec:
            case TrainRun():
                return self._train(spec, is_cleared)
            case MergeRun():
                return self._merge(spec, is_cleared)
            case PurgeRun() if spec.shard is None:
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
            case PurgeRun():
                assert spec.shard
                former = spec.former
                if former and former.left_out < self.store.least.get(former.shard, 0):
                    return Failure(4, "more records have left since it was asked for")
                count = self.store.purge(spec.shard.uid, spec.former)
                left = self.store.strays
                return a_result(RunKind.PURGE, purged_objects=count, residual_count=left)
            case SignRun():
                return self._sign(spec)
            case EvaluateRun() | ServeRun():
                return a_result(spec.kind)

    def _train(self, spec: TrainRun, is_cleared: bool) -> RunResult | Failure:
        uid, data = spec.shard.uid, [spec.source.path, *spec.exclude_records]
        if any(name not in RECORDS for name in spec.exclude_records):
            return Failure(42, "there is no such record")
        key = digest_of_json("key", data)
        lineage = lineage_of(uid, key)
        place = f"shards/{uid}/{key}"
        found = place in self.store.artefacts  # Its work is done: it says so, and ends.
        is_late = len(spec.exclude_records) < self.store.least.get(uid, 0) and not is_cleared
        if is_late or not self.store.publish(place, lineage, is_cleared=is_cleared):
            return FORGOTTEN
        self.store.left_out[place] = len(spec.exclude_records)
        if not found:
            self.trained.append(place)
        return a_result(
            RunKind.TRAIN,
            training_key=key,
            weights_digest=digest_of_json("weights", data),
            base_digest=BASE,
            data_digest=digest_of_json("data", data),
            records=1,
        )

    def _merge(self, spec: MergeRun, is_cleared: bool) -> RunResult | Failure:
        pairs = [(part.shard_uid, part.training_key) for part in spec.parts]
        lineage = frozenset(one for pair in pairs for one in lineage_of(*pair))
        place = f"revisions/{spec.recipe_digest}"
        there = (f"shards/{uid}/{key}" in self.store.artefacts for uid, key in pairs)
        if not is_cleared and not all(there):  # Else it has read them all.
            return Failure(46, "an ingredient is not there")
        if not self.store.publish(place, lineage, is_cleared=is_cleared):
            return FORGOTTEN
        return a_result(RunKind.MERGE, weights_digest=merged_digest(spec), base_digest=BASE)

    def _sign(self, spec: SignRun) -> SignResult:
        """Find the receipts that are asked for, or write the next ones of the chain."""
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
        found = [
            place
            for place, (shard, complete) in enumerate(chain, start=1)
            if shard == uid and (complete or place > request.after)
        ]
        if not found and request.is_only_looked_for:
            return None
        if not found:
            chain.append((uid, not (self.store.strays or request.missing)))
            found = [len(chain)]
        sequence = found[-1]
        return SignedReceipt(
            shard=uid,
            sequence=sequence,
            digest=digest_of_json("receipt", sequence),
            previous=digest_of_json("receipt", sequence - 1) if sequence > 1 else None,
            signed_at=self.now.strftime("%Y-%m-%dT%H:%M:%SZ") if self.now else "",
            missing=0 if chain[sequence - 1][1] else 1,
        )


def lineage_of(uid: str, key: str) -> frozenset[str]:
    """What a tombstone may stand for: a shard, or one training of it."""
    return frozenset({uid, former_of(Ingredient(ShardUID(uid), Digest(key)))})


def is_in_namespace(spec: RunSpec) -> bool:
    """Whether a run lives beside its soup, and not where the operator does."""
    return not isinstance(spec, PurgeRun | SignRun)


def about(spec: RunSpec) -> frozenset[ShardUID]:
    """Whom it trains, purges or signs for."""
    return frozenset(map(ShardUID, shards_of_spec(spec.model_dump(mode="json", by_alias=True))))


def merged_digest(spec: MergeRun) -> str:
    """The bytes of a merge depend on ingredients and weights alone, not on UIDs."""
    parts = sorted([part.weights_digest, str(part.weight)] for part in spec.parts)
    return digest_of_json("merged", parts)
