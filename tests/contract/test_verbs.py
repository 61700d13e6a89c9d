"""Every workload on a real S3 server, each with the identity that it has in a cluster."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.contract.conftest import (
    SECRETS,
    SHARED_BUCKET,
    SHARED_PREFIX,
    Server,
)
from tests.serving.server_fixtures import RevisionStore, a_server
from tests.training.runs import a_training

from stockpot.api.manifest import LineagePair
from stockpot.api.namespace_ref import NamespaceRef
from stockpot.api.results import EvaluateResult, PurgeResult, SignResult, TrainResult
from stockpot.api.runspec import (
    BaseRef,
    EvaluateRun,
    Location,
    MergeRun,
    ObjectRef,
    Place,
    PurgeRun,
    ReceiptRequest,
    RecipePart,
    RevisionRef,
    SignRun,
    StoreRef,
    TrainRun,
)
from stockpot.api.training import Named, WeightsDtype
from stockpot.core.digests import Digest, digest_of_json
from stockpot.core.recipe import Ingredient, Recipe, ShardUID, recipe_of
from stockpot.errors import Transient
from stockpot.evaluation.run import run as evaluate
from stockpot.merging.run import run as merge
from stockpot.metrics.progress import Progress
from stockpot.store.keys import SUMS, Keys
from stockpot.store.port import ObjectInfo
from stockpot.store.s3 import S3Store
from stockpot.training.run import run as train
from stockpot.unlearning.keys import keygen
from stockpot.unlearning.purge import run as purge
from stockpot.unlearning.sign import run as sign

KEYS = Keys("studio")
SOUP = ObjectRef(namespace="studio", name="tiny", uid="soup-uid")
NAMESPACE = NamespaceRef(uid="uid-of-the-namespace")
BASE = BaseRef(location=Location(place=Place.STORE, path="bases/tiny/"))
SHARDS = ("cats", "dogs")
WORKLOADS = pytest.mark.parametrize("workload", ["workload", "workload-studio"])
"""The identity for all workload namespaces, and that of one."""


@dataclass(frozen=True)
class Studio:
    """A shared bucket with versioning, with a base and data below the store's prefix."""

    ref: StoreRef
    folder: Path

    @property
    def spec_fields(self) -> dict[str, Any]:
        return {"name": "run", "store": self.ref, "soup": SOUP}

    @property
    def run_arguments(self) -> dict[str, Any]:
        return {"work": self.folder, "progress": Progress(), "stop": threading.Event()}

    def train(self, shard: str) -> TrainResult:
        spec = TrainRun(
            **self.spec_fields,
            namespace=NAMESPACE,
            shard=shard_of(shard),
            request=digest_of_json("request/1", shard),
            base=BASE,
            source=Location(place=Place.STORE, path=f"studio/data/{shard}"),
            training=a_training(max_train_steps=4, checkpointing_steps=1),
        )
        return train(spec, **self.run_arguments)

    def merge(self, recipe: Recipe) -> RevisionRef:
        parts = tuple(
            RecipePart(
                shard_uid=part.ingredient.shard,
                training_key=part.ingredient.key,
                weights_digest=part.weights,
                weight=part.weight,
            )
            for part in recipe.parts
        )
        spec = MergeRun(
            **self.spec_fields,
            namespace=NAMESPACE,
            recipe_digest=recipe.digest,
            parts=parts,
            output=WeightsDtype.FP16,
            base=BASE,
        )
        merged = merge(spec, **self.run_arguments)
        assert merged.weights_digest
        return RevisionRef(
            recipe_digest=recipe.digest,
            weights_digest=merged.weights_digest,
            lineage=tuple(
                LineagePair(shard=part.shard_uid, training_key=part.training_key) for part in parts
            ),
        )

    def evaluate(self, revision: RevisionRef) -> EvaluateResult:
        spec = EvaluateRun(
            **self.spec_fields,
            namespace=NAMESPACE,
            revision=revision,
            base=BASE,
            held_out=Location(place=Place.STORE, path="studio/data/held-out/"),
            suite=(Named(name="heldout_loss", options={"levels": "2"}),),
            resolution=tiny.RESOLUTION,
        )
        return evaluate(spec, **self.run_arguments)

    def forget(
        self, shard: str, successor: RevisionRef, key: Path
    ) -> tuple[PurgeResult, SignResult]:
        removed = purge(PurgeRun(**self.spec_fields, shard=shard_of(shard)), **self.run_arguments)
        signing = SignRun(
            **self.spec_fields,
            receipts=(ReceiptRequest(shard=shard_of(shard), requested_at="2026-11-22T12:00:00Z"),),
            successor=successor,
            signing_key=str(key),
        )
        return removed, sign(signing, **self.run_arguments)


def shard_of(name: str) -> ObjectRef:
    return ObjectRef(namespace="studio", name=name, uid=f"uid-{name}")


def combined_recipe(trained: dict[str, TrainResult]) -> Recipe:
    weighted = []
    for shard, result in trained.items():
        assert result.training_key
        assert result.weights_digest
        ingredient = Ingredient(ShardUID(f"uid-{shard}"), Digest(result.training_key))
        weighted.append((ingredient, Digest(result.weights_digest), Fraction(1)))
    return recipe_of(weighted, "fp16")


@pytest.fixture
def studio(s3_server: Server, tmp_path: Path) -> Studio:
    torch.set_num_threads(1)
    s3_server.make(SHARED_BUCKET, versioned=True)
    store = S3Store(s3_server.endpoint, SHARED_BUCKET, SHARED_PREFIX)
    for left in list(store.list_versions("studio/")):  # Tombstones of the test before.
        store.purge(left)
    tiny.a_base(tmp_path / "bases/tiny")
    for seed, name in enumerate((*SHARDS, "held-out")):
        tiny.some_data(tmp_path / f"studio/data/{name}", n=6, seed=seed)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            store.put_file(path.relative_to(tmp_path).as_posix(), path)
    ref = StoreRef(url=f"s3://{SHARED_BUCKET}/{SHARED_PREFIX}", endpoint=s3_server.endpoint)
    return Studio(ref, tmp_path)


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets the credentials of an identity, as a pod's Secret does."""

    def become(name: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[name])

    yield become
    monkeypatch.undo()


@WORKLOADS
def test_train_merge_serve_and_unlearn_in_a_bucket_with_two_identities(
    studio: Studio, become: Callable[[str], None], s3_server: Server, workload: str
) -> None:
    key = studio.folder / "key.pem"
    keygen(key)

    become(workload)
    trained = {shard: studio.train(shard) for shard in SHARDS}
    both = studio.merge(combined_recipe(trained))
    figures = studio.evaluate(both).figures
    with a_server(
        RevisionStore(studio.folder),
        studio.folder / "serve",
        store=studio.ref,
        soup=SOUP,
        base=BASE,
    ) as server:
        server.serve(both, epoch=1)
        answer = server.draw()
    without = studio.merge(combined_recipe({"cats": trained["cats"]}))
    become("unlearn")
    removed, signed = studio.forget("dogs", without, key)

    assert "heldout_loss" in figures
    assert answer.status == 200
    assert answer.headers["x-stockpot-weights-digest"] == both.weights_digest
    assert [receipt.sequence for receipt in signed.receipts] == [1]
    assert removed.purged_objects
    store = S3Store(s3_server.endpoint, SHARED_BUCKET, SHARED_PREFIX)
    keys = {info.key for info in store.list_versions("studio/")}
    assert {key for key in keys if "uid-dogs" in key} == {
        KEYS.tombstone("uid-dogs"),
        KEYS.inventory("uid-dogs"),
        KEYS.unlearned_list(SOUP.uid, "uid-dogs"),
    }
    assert KEYS.mark in keys
    assert not [key for key in keys if key.startswith(KEYS.revision(SOUP.uid, both.recipe_digest))]
    assert [key for key in keys if key.startswith(KEYS.revision(SOUP.uid, without.recipe_digest))]


@WORKLOADS
@pytest.mark.parametrize(
    "key",
    [
        KEYS.tombstone("uid-dogs"),
        KEYS.inventory("uid-dogs"),
        KEYS.receipt("soup-uid", 1),
        "studio/data/cats/more.png",
        "bases/tiny/unet/config.json",
    ],
)
def test_a_workload_writes_no_record_and_no_data(
    studio: Studio, become: Callable[[str], None], key: str, workload: str
) -> None:
    become(workload)
    store = S3Store(studio.ref.endpoint, SHARED_BUCKET, SHARED_PREFIX)

    for write in (store.put, store.put_if_absent):
        with pytest.raises(Transient, match="AccessDenied") as refusal:
            write(key, b"x")
    assert "what they may do" in refusal.value.help


@WORKLOADS
def test_a_workload_removes_no_artefact_and_no_version(
    studio: Studio, become: Callable[[str], None], workload: str
) -> None:
    become(workload)
    store = S3Store(studio.ref.endpoint, SHARED_BUCKET, SHARED_PREFIX)
    artefact, checkpoint = "studio/shards/u/k/weights", "studio/shards/u/runs/r/step"
    sums = KEYS.accumulator(SOUP.uid, "recipe") + SUMS
    for key in (artefact, checkpoint, sums):
        store.put(key, b"x")

    store.delete(checkpoint)
    store.delete(sums)
    with pytest.raises(Transient, match="AccessDenied"):
        store.delete(artefact)
    with pytest.raises(Transient, match="AccessDenied"):
        list(store.list_versions("studio/"))
    for version in ("null", "an-old-one"):
        with pytest.raises(Transient, match="AccessDenied"):
            store.purge(ObjectInfo(checkpoint, 1, version))
    assert store.get(artefact) == b"x"
