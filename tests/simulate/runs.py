"""Runs as their processes know them: what each verb does to the store, and how one ends.

They read tombstones at their start and before they publish, as the real ones do. An end that was
asked for is confirmed only later; until then a process may still do what it was about to.
"""

from dataclasses import dataclass, field
from datetime import datetime

from tests.simulate.store import Store

from stockpot.api.runspec import (
    EvaluateRun,
    MergeRun,
    PurgeRun,
    RunResult,
    RunSpec,
    ServeRun,
    SignRun,
    TrainRun,
)
from stockpot.core.digests import Digest, digest_of_bytes, digest_of_json
from stockpot.core.recipe import Ingredient, Lineage, ShardUID, former_of
from stockpot.core.world import Failure, Run, RunName

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

    def seen(self) -> tuple[Run, ...]:
        """All that an operator can see of them."""
        return tuple(
            Run(
                name,
                one.lineage,
                result=one.outcome if isinstance(one.outcome, RunResult) else None,
                failure=one.outcome if isinstance(one.outcome, Failure) else None,
                ended_at=one.ended_at,
                about=about(one.spec),
            )
            for name, one in sorted(self.known.items())
        )

    def active(self) -> list[RunName]:
        return sorted(name for name, one in self.known.items() if one.outcome is None)

    def ending(self) -> list[RunName]:
        return sorted(name for name, one in self.known.items() if one.is_ending)

    def finish(self, name: RunName, now: datetime) -> None:
        """Let it do what it was told, to its end."""
        work = self.known[name]
        self.now = now
        work.outcome, work.ended_at = self.outcome_of(work.spec, is_cleared=work.is_cleared), now

    def crash(self, name: RunName) -> None:
        self.known[name].outcome = Failure(None, "killed")

    def freeze(self, name: RunName) -> None:
        """A node stops answering with a writer on it; somebody deletes its pod by force."""
        self.frozen[name] = self.known.pop(name)

    def thaw(self, name: RunName) -> None:
        """What was stopped goes on, and does what it still meant to, unseen."""
        work = self.frozen.pop(name)
        before, trained = set(self.store.artefacts), list(self.trained)
        self.outcome_of(work.spec, is_cleared=work.is_cleared)
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
                return RunResult(purged_objects=self.store.collect(spec.forgotten))
            case PurgeRun():
                assert spec.shard
                count = self.store.purge(spec.shard.uid, spec.former)
                left = str(self.store.strays)
                return RunResult(purged_objects=count, figures={"residuals": left})
            case SignRun():
                return self._sign(spec)
            case EvaluateRun() | ServeRun():
                return RunResult()

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
        self.store.requests[place] = spec.request
        if not found:
            self.trained.append(place)
        return RunResult(
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
        return RunResult(weights_digest=merged_digest(spec), base_digest=BASE)

    def _sign(self, spec: SignRun) -> RunResult:
        """Find the receipt that is asked for, or write the next of the chain."""
        uid, chain = spec.shard.uid, self.store.receipts
        found = [
            place
            for place, (shard, complete) in enumerate(chain, start=1)
            if shard == uid and (complete or place > spec.after)
        ]
        if not found:
            chain.append((uid, not (self.store.strays or spec.missing)))
            found = [len(chain)]
        complete = chain[found[-1] - 1][1]
        return RunResult(
            receipt_sequence=found[-1],
            receipt_digest=digest_of_json("receipt", found[-1]),
            signed_at=self.now.strftime("%Y-%m-%dT%H:%M:%SZ") if self.now else None,
            missing=spec.missing,
            figures={"residuals": "0", "missing": "0" if complete else "1"},
        )


def lineage_of(uid: str, key: str) -> frozenset[str]:
    """What a tombstone may stand for: a shard, or one training of it."""
    return frozenset({uid, former_of(Ingredient(ShardUID(uid), Digest(key)))})


def about(spec: RunSpec) -> ShardUID | None:
    """Whom it trains, purges or attests."""
    shard = getattr(spec, "shard", None)
    return ShardUID(shard.uid) if shard else None


def merged_digest(spec: MergeRun) -> str:
    """The bytes of a merge depend on ingredients and weights alone, not on UIDs."""
    parts = sorted([part.weights_digest, str(part.weight)] for part in spec.parts)
    return digest_of_json("merged", parts)
