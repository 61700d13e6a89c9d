"""Unlearning a shard in a bucket: versions, delete markers and uploads are removed as well."""

import threading
from pathlib import Path

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from tests.contract.conftest import Server
from tests.unlearning.receipt_fixtures import (
    CATS,
    DOGS,
    KEYS,
    SOUP,
    a_purge,
    a_signing,
    fill,
    key_of,
    recipe_of,
)

from stockpot.api.results import PurgeResult, SignResult
from stockpot.api.runspec import ObjectRef, StoreRef
from stockpot.metrics.progress import Progress
from stockpot.store.keys import WEIGHTS
from stockpot.store.port import ObjectInfo
from stockpot.store.s3 import S3Store
from stockpot.unlearning import purge, sign
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.inventory import read_inventory
from stockpot.unlearning.keys import keygen, load_public_key

PREFIX = "team/a"
DOGS_FILE = KEYS.ingredient("uid-dogs", key_of("uid-dogs")) + WEIGHTS
BEES_FILE = KEYS.ingredient("uid-bees", key_of("uid-bees")) + WEIGHTS
BOTH_FILE = KEYS.revision("soup-1", recipe_of("uid-cats", "uid-dogs")) + WEIGHTS


@pytest.fixture
def store(s3_server: Server, tmp_path: Path) -> S3Store:
    """A store whose bucket got versioning after its first objects, with a history since."""
    store = S3Store(s3_server.endpoint, s3_server.a_bucket(versioned=False), PREFIX)
    fill(store, tmp_path / "work")
    s3_server.client.set_bucket_versioning(store.bucket, VersioningConfig(ENABLED))
    for key in (DOGS_FILE, BEES_FILE):
        store.put(key, b"written again")
        store.put(key, b"and again")
    store.delete(DOGS_FILE)
    store.delete(BOTH_FILE)
    for key in (DOGS_FILE, BOTH_FILE, BEES_FILE):
        store._client._create_multipart_upload(store.bucket, f"{PREFIX}/{key}", {})
    return store


def run_arguments(store: S3Store, tmp_path: Path) -> tuple[StoreRef, dict[str, object]]:
    endpoint = store.name.rpartition(" ")[2]
    ref = StoreRef(url=f"s3://{store.bucket}/{PREFIX}", endpoint=endpoint)
    return ref, {"work": tmp_path, "progress": Progress(), "stop": threading.Event()}


def purged(store: S3Store, tmp_path: Path, shard: ObjectRef) -> PurgeResult:
    ref, arguments = run_arguments(store, tmp_path)
    spec = a_purge(tmp_path, shard).model_copy(update={"store": ref})
    return purge.run(spec, **arguments)  # type: ignore[arg-type]


def signed(store: S3Store, tmp_path: Path, key: Path, shard: ObjectRef) -> SignResult:
    ref, arguments = run_arguments(store, tmp_path)
    spec = a_signing(tmp_path, key, shard).model_copy(update={"store": ref, "successor": None})
    return sign.run(spec, **arguments)  # type: ignore[arg-type]


def everything(store: S3Store) -> set[ObjectInfo]:
    return set(store.list_versions(""))


def test_a_purge_removes_versions_markers_and_uploads_of_its_shard_only(
    store: S3Store, tmp_path: Path
) -> None:
    before = everything(store)
    dogs = {info for info in before if info.key == DOGS_FILE}
    bees = {info for info in before if info.key.startswith(KEYS.shard("uid-bees"))}

    result = purged(store, tmp_path, DOGS)

    # An old object, two versions, a delete marker, an upload.
    assert len(dogs) == 5
    assert len([info for info in dogs if info.version.startswith("upload:")]) == 1
    after = everything(store)
    gone = before - after
    assert dogs <= gone
    assert bees <= after
    left = {info.key for info in after if "uid-dogs" in info.key}
    assert left == {KEYS.tombstone("uid-dogs"), KEYS.inventory("uid-dogs")}
    assert result.purged_objects == len(gone)
    inventory = read_inventory(store, KEYS, "uid-dogs")
    assert inventory is not None
    assert [look.count for look in inventory.sweeps] == [len(gone), 0]
    assert inventory.complete
    assert inventory.residuals == ()
    assert purged(store, tmp_path, DOGS).reused


def test_receipts_in_a_bucket_are_a_chain(store: S3Store, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    keygen(key)
    for shard in (DOGS, CATS):
        purged(store, tmp_path, shard)

    results = [signed(store, tmp_path, key, shard) for shard in (DOGS, CATS, DOGS)]

    chain = check_chain(store, KEYS, SOUP.uid, load_public_key(key.with_name("key.pem.pub")))
    receipts = [receipt for result in results for receipt in result.receipts]
    assert [receipt.sequence for receipt in receipts] == [1, 2, 1]
    assert [result.reused for result in results] == [False, False, True]
    assert [entry.digest for entry in chain] == [receipt.digest for receipt in receipts[:2]]
    assert receipts[0] == receipts[2]


def test_objects_without_a_manifest_are_residuals_with_their_versions(
    store: S3Store, tmp_path: Path
) -> None:
    stray = f"{KEYS.soup('soup-1')}stray"
    store.put(stray, b"one")
    store.delete(stray)

    result = purged(store, tmp_path, DOGS)

    inventory = read_inventory(store, KEYS, "uid-dogs")
    assert inventory is not None
    assert [residual.key for residual in inventory.residuals] == [stray, stray]
    assert result.residual_count == 2
