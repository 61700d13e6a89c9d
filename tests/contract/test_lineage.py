"""Lineage in a bucket with versioning: what a deletion leaves is still covered, or unknown."""

from uuid import uuid4

import pytest

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.store.artefacts import begin, covering_manifests
from stockpot.store.keys import MANIFEST, WEIGHTS, Keys
from stockpot.store.s3 import S3Store

CATS = Manifest(kind=ArtefactKind.INGREDIENT, lineage=(LineagePair(shard="cats"),))
FOLDER = Keys("ml").ingredient("cats", "a" * 64)


@pytest.fixture
def kept(s3_endpoint: str, bucket_s3_versioned: str) -> S3Store:
    """A store in a bucket with versioning."""
    return S3Store(s3_endpoint, bucket_s3_versioned, uuid4().hex)


def test_old_versions_delete_markers_and_uploads_are_covered(kept: S3Store) -> None:
    begin(kept, FOLDER, CATS)
    kept.put(FOLDER + WEIGHTS, b"one")
    kept.put(FOLDER + WEIGHTS, b"two")
    kept.delete(FOLDER + WEIGHTS)
    kept._client._create_multipart_upload(kept.bucket, kept._prefix + FOLDER + WEIGHTS, {})

    covered = list(covering_manifests(kept, "ml/shards/"))

    assert sorted(info.key for info, _ in covered) == [FOLDER + WEIGHTS] * 4 + [FOLDER + MANIFEST]
    assert [manifest for _, manifest in covered] == [CATS] * 5


def test_the_lineage_is_unknown_only_without_any_version_of_the_manifest(kept: S3Store) -> None:
    begin(kept, FOLDER, CATS)
    kept.put(FOLDER + WEIGHTS, b"one")
    kept.delete(FOLDER + MANIFEST)

    deleted = list(covering_manifests(kept, "ml/"))
    for info, _ in deleted:
        if info.key == FOLDER + MANIFEST:
            kept.purge(info)
    purged = list(covering_manifests(kept, "ml/"))

    # The weights, the manifest's old version, and its delete marker.
    assert [manifest for _, manifest in deleted] == [CATS] * 3
    assert [manifest for _, manifest in purged] == [None]
