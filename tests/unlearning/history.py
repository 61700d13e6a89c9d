"""A soup that learnt five shards and forgot three, made by the real verbs, for tests of verifiers.

Tiny models, trained once for all tests; a test that edits gets a copy of its own.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.tiny import RESOLUTION, a_base, some_data

from stockpot.api.manifest import LineagePair, RecipePart
from stockpot.api.runspec import (
    BaseRef,
    Location,
    MergeRun,
    ObjectRef,
    Place,
    PurgeRun,
    ReceiptRequest,
    RevisionRef,
    SignRun,
    StoreRef,
    TrainRun,
)
from stockpot.api.server_reports import HeldReport
from stockpot.api.training import Training, WeightsDtype
from stockpot.cli.averaging import Averaging
from stockpot.core import recipe
from stockpot.core.digests import Digest
from stockpot.merging import run as merging
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import WEIGHTS, Keys
from stockpot.store.open import open_store
from stockpot.store.port import ObjectStore
from stockpot.training import run as training
from stockpot.unlearning import purge, sign
from stockpot.unlearning.anchors import Anchor
from stockpot.unlearning.chain import Receipt, check_chain
from stockpot.unlearning.clock import now
from stockpot.unlearning.commitments import Opening
from stockpot.unlearning.envelope import seal
from stockpot.unlearning.keys import keygen, load_private_key, load_public_key
from stockpot.unlearning.statement import UnlearningPredicate, state
from stockpot.unlearning.verify.chain_head import parse_head
from stockpot.unlearning.verify.verdict import Check, Report, Verdict
from stockpot.unlearning.verify.verification import VerificationInput, verify

KEYS = Keys("ml")
SOUP = ObjectRef(namespace="ml", name="tiny", uid="soup-1")
WEIGHTS_OF = {"ants": 1, "bees": 3, "cats": 2, "dogs": 1, "eels": 1}
FORGOTTEN = ("ants", "bees", "dogs")
REQUEST = Digest("sha256:" + "a" * 64)


def shard_ref(name: str) -> ObjectRef:
    return ObjectRef(namespace="ml", name=name, uid=f"uid-{name}")


@dataclass(frozen=True)
class History:
    """A store, the key that signed its receipts, and the base of all its trainings."""

    ref: StoreRef
    key: Path
    base: Path

    @property
    def store(self) -> ObjectStore:
        return open_store(self.ref)

    @property
    def public(self) -> Path:
        return self.key.with_name(f"{self.key.name}.pub")

    def verified(
        self,
        *,
        head: str | None = None,
        key: Path | None = None,
        base: Path | None = None,
        store: ObjectStore | None = None,
        urls: tuple[str, ...] = (),
        anchor: Anchor | None = None,
        openings: Sequence[Opening] = (),
    ) -> Report:
        store = store or self.store
        inputs = VerificationInput(
            store, "here", KEYS, SOUP.uid, load_public_key(key or self.public)
        )
        average = Averaging(store, KEYS, str(base) if base else None)
        kept = parse_head(head) if head else None
        return verify(
            inputs, head=kept, average=average, urls=urls, anchor=anchor, openings=openings
        )

    def receipts(self) -> tuple[Receipt, ...]:
        return check_chain(self.store, KEYS, SOUP.uid, load_public_key(self.public))

    def predicate(self, number: int) -> UnlearningPredicate:
        return self.receipts()[number - 1].statement.predicate

    def head(self, number: int = len(FORGOTTEN)) -> str:
        return f"{number}:{self.receipts()[number - 1].digest}"

    def forge(self, number: int, **edits: Any) -> None:
        """Replace a receipt by an edited one with a valid signature, as the key's owner could."""
        edited = self.predicate(number).model_copy(update=edits)
        data = seal(state(edited).canonical, load_private_key(self.key))
        self.store.put(KEYS.receipt(SOUP.uid, number), data)

    def edit(self, key: str, old: bytes, new: bytes) -> None:
        """Change some bytes of an object."""
        data = self.store.get(key)
        assert data is not None
        assert old in data
        self.store.put(key, data.replace(old, new))

    def flip(self, key: str, at: int) -> None:
        """Change one bit of one byte."""
        data = bytearray(self.store.get(key) or b"")
        data[at] ^= 1
        self.store.put(key, bytes(data))

    def ingredient(self, name: str) -> str:
        """The store key of a shard's weights."""
        manifests = self.store.list(KEYS.shard(f"uid-{name}"))
        return next(info.key for info in manifests if info.key.endswith(WEIGHTS))

    def parts(self, number: int) -> tuple[RecipePart, ...]:
        """The parts of a receipt's successor."""
        successor = self.predicate(number).successor
        assert successor is not None
        manifest = read_manifest(self.store, KEYS.revision(SOUP.uid, successor.recipe_digest))
        assert manifest is not None
        return manifest.parts

    def runner(self, below: Path) -> "VerbRunner":
        return VerbRunner(self.ref, below, self.key, self.base)

    def copied_to(self, ref: StoreRef) -> "History":
        into = open_store(ref)
        for info in self.store.list(""):
            into.put(info.key, self.store.get(info.key) or b"")
        return replace(self, ref=ref)


@dataclass(frozen=True)
class VerbRunner:
    """Runs verbs on a store."""

    ref: StoreRef
    below: Path
    key: Path
    base: Path

    @property
    def _base(self) -> BaseRef:
        return BaseRef(location=Location(place=Place.FOLDER, path=str(self.base)))

    def _run(self, verb: Any, spec: Any) -> Any:
        work = self.below / "work" / spec.name
        work.mkdir(parents=True, exist_ok=True)
        return verb(spec, work=work, progress=Progress(), stop=threading.Event())

    def learn(self, name: str, seed: int) -> RecipePart:
        data = some_data(self.below / "data" / name, n=4, seed=seed)
        spec = TrainRun(
            name=f"train-{name}",
            store=self.ref,
            soup=SOUP,
            shard=shard_ref(name),
            request=REQUEST,
            base=self._base,
            source=Location(place=Place.FOLDER, path=str(data)),
            training=Training.model_validate(
                {
                    "max_train_steps": 2,
                    "train_batch_size": 2,
                    "resolution": RESOLUTION,
                    "checkpointing_steps": 1,
                    "optimizer": {"options": {"learningRate": "1e-3"}},
                }
            ),
        )
        result = self._run(training.run, spec)
        return RecipePart(
            shard_uid=spec.shard.uid,
            training_key=result.training_key,
            weights_digest=result.weights_digest,
            weight=WEIGHTS_OF[name],
        )

    def mix(self, parts: tuple[RecipePart, ...]) -> RevisionRef:
        in_order = sorted(
            recipe.WeightedIngredient(
                recipe.Ingredient(recipe.ShardUID(part.shard_uid), Digest(part.training_key)),
                Digest(part.weights_digest),
                part.weight,
            )
            for part in parts
        )
        digest = recipe.Recipe(tuple(in_order), "fp16").digest
        spec = MergeRun(
            name=f"merge-{len(parts)}",
            store=self.ref,
            soup=SOUP,
            recipe_digest=digest,
            parts=parts,
            output=WeightsDtype.FP16,
            base=self._base,
        )
        result = self._run(merging.run, spec)
        return RevisionRef(
            recipe_digest=digest,
            weights_digest=result.weights_digest,
            lineage=tuple(
                LineagePair(shard=part.shard_uid, training_key=part.training_key) for part in parts
            ),
        )

    def forget(self, name: str, successor: RevisionRef) -> None:
        requested_at = now()
        purging = PurgeRun(name=f"purge-{name}", store=self.ref, soup=SOUP, shard=shard_ref(name))
        self._run(purge.run, purging)
        server = HeldReport(
            server="tiny-0", instance_id="boot", epoch=2, holds=(successor.recipe_digest,)
        )
        signing = SignRun(
            name=f"sign-{name}",
            store=self.ref,
            soup=SOUP,
            receipts=(ReceiptRequest(shard=shard_ref(name), requested_at=requested_at),),
            successor=successor,
            servers=(server,),
            signing_key=str(self.key),
        )
        self._run(sign.run, signing)


def a_history(ref: StoreRef, below: Path) -> History:
    """Learn five shards, serve them, and forget three, one after the other."""
    runner = VerbRunner(ref, below, below / "key.pem", below / "base")
    a_base(runner.base)
    keygen(runner.key)
    parts = {name: runner.learn(name, seed) for seed, name in enumerate(WEIGHTS_OF)}
    runner.mix(tuple(parts.values()))
    for name in FORGOTTEN:
        del parts[name]
        runner.forget(name, runner.mix(tuple(parts.values())))
    return History(ref, runner.key, runner.base)


def checks_with(report: Report, verdict: Verdict) -> list[Check]:
    return [check for check in report.checks if check.verdict is verdict]


def causes(report: Report) -> str:
    """Why checks failed, each on a line."""
    return "\n".join(
        f"{check.about}: {check.claim}: {check.why}"
        for check in checks_with(report, Verdict.FAILED)
    )


def check_about(report: Report, about: str, claim: str) -> Check:
    """Return the only check of a claim."""
    [check] = [check for check in report.checks if about in check.about and claim in check.claim]
    return check
