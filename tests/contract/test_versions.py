"""Deleted objects in a bucket with versioning keep their lineage."""

import threading
from pathlib import Path

import pytest
from tests.contract.conftest import SECRETS, SHARED_BUCKET, SHARED_PREFIX, Server
from tests.unlearning.history import History, a_history, causes, check_about
from tests.unlearning.receipt_fixtures import DOGS, KEYS, a_purge, fill, keys_below, recipe_of

from stockpot.api.results import PurgeResult
from stockpot.api.runspec import StoreRef
from stockpot.errors import ExitCode, Transient
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import covering_manifests
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.store.port import ObjectInfo
from stockpot.store.s3 import S3Store
from stockpot.unlearning import purge
from stockpot.unlearning.verify.verdict import Verdict

BOTH = KEYS.revision("soup-1", recipe_of("uid-cats", "uid-dogs"))
BEES = KEYS.shard("uid-bees")


@pytest.fixture
def store(s3_server: Server, tmp_path: Path) -> S3Store:
    """A store with three shards and their soups, after a collected revision and a new training."""
    store = S3Store(s3_server.endpoint, s3_server.a_bucket(versioned=True))
    fill(store, tmp_path / "work")
    for folder in (BOTH, f"{BEES}runs/"):
        for info in [*store.list(folder)]:
            store.delete(info.key)
    return store


def purged(store: S3Store, tmp_path: Path) -> PurgeResult:
    ref = StoreRef(url=f"s3://{store.bucket}", endpoint=store.name.rpartition(" ")[2])
    spec = a_purge(tmp_path, DOGS).model_copy(update={"store": ref})
    return purge.run(spec, work=tmp_path, progress=Progress(), stop=threading.Event())


def test_each_version_can_be_read(store: S3Store) -> None:
    store.put("ml/thing", b"first")
    store.put("ml/thing", b"second")
    store.delete("ml/thing")

    contents = {store.get_version(info) for info in store.list_versions("ml/thing")}

    assert contents == {b"first", b"second", None}


def test_a_removed_version_reads_as_none(store: S3Store) -> None:
    store.put("ml/thing", b"first")
    [info] = store.list_versions("ml/thing")
    store.purge(info)

    assert store.get_version(info) is None


def test_deleted_objects_are_covered_by_their_deleted_manifest(
    store: S3Store,
) -> None:
    covered = {info.key: manifest for info, manifest in covering_manifests(store, BOTH)}

    assert covered
    lineages = {
        frozenset(pair.shard for pair in manifest.lineage) if manifest else None
        for manifest in covered.values()
    }
    assert lineages == {frozenset({"uid-cats", "uid-dogs"})}


def test_a_purge_removes_all_versions_of_a_collected_revision(
    store: S3Store, tmp_path: Path
) -> None:
    assert store.get(BOTH + WEIGHTS) is None
    assert keys_below(store, BOTH)

    purged(store, tmp_path)

    assert keys_below(store, BOTH) == []


def test_objects_that_a_later_training_removed_are_no_residuals(
    store: S3Store, tmp_path: Path
) -> None:
    assert [info for info in store.list_versions(f"{BEES}runs/") if not info.is_delete_marker]

    result = purged(store, tmp_path)

    assert (result.residual_count, result.locked_count) == (0, 0)


def test_versions_that_may_not_be_read_have_unknown_lineage(store: S3Store) -> None:
    class WithoutVersions(S3Store):
        def get_version(self, info: ObjectInfo) -> bytes | None:
            raise Transient(f"the store refuses us {info.key}")

    store.__class__ = WithoutVersions

    covered = {manifest for info, manifest in covering_manifests(store, BOTH)}

    assert covered == {None}


@pytest.fixture(scope="module")
def shared(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> History:
    """A history with an unlearning in the bucket that the page's identities may use."""
    s3_server.make(SHARED_BUCKET, versioned=True)
    ref = StoreRef(url=f"s3://{SHARED_BUCKET}/{SHARED_PREFIX}", endpoint=s3_server.endpoint)
    return a_history(ref, tmp_path_factory.mktemp("shared"))


def test_a_read_only_identity_proves_all_claims(
    shared: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = shared.head()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "verify")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["verify"])

    report = shared.verified(head=head)

    assert (causes(report), report.exit_code) == ("", ExitCode.OK)
    for number in (1, 2, 3):
        assert check_about(report, f"receipt {number}", "is back").verdict is Verdict.PROVEN
    with pytest.raises(Transient):
        shared.store.put("ml/soups/mine", b"no")
    with pytest.raises(Transient):
        shared.store.delete(shared.ingredient("cats").replace(WEIGHTS, MANIFEST))
