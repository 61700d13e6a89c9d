"""Objects removed or written between a listing and its manifests do not get an unknown lineage."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.store.counting_store import CountingStore
from tests.unlearning.receipt_fixtures import CATS, KEYS, a_filled_store, a_purge, key_of

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.results import PurgeResult
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import Refused
from stockpot.metrics.progress import Progress
from stockpot.store import artefacts
from stockpot.store.artefacts import begin, covering_manifests
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST
from stockpot.store.port import CONNECTIONS, ObjectInfo, ObjectStore
from stockpot.store.tombstones import refuse_forgotten
from stockpot.unlearning import purge
from stockpot.unlearning.inventory import read_inventory

BEES = CATS.model_copy(update={"uid": "uid-bees", "name": "bees"})


class ListedThen(FolderStore):
    """A store that calls a function right after the whole namespace was listed."""

    def __init__(self, root: Path, happens: Callable[[], object]) -> None:
        super().__init__(root)
        self._happens, self.times = happens, 0

    def list_versions(self, prefix: str) -> Iterator[ObjectInfo]:
        listed = list(super().list_versions(prefix))
        if prefix == "ml/":
            self.times += 1
            self._happens()
        return iter(listed)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    a_filled_store(tmp_path / "store", tmp_path / "work")
    return tmp_path / "store"


def purged(root: Path, shard: object) -> PurgeResult:
    spec = a_purge(root).model_copy(update={"shard": shard})
    return purge.run(spec, work=root, progress=Progress(), stop=threading.Event())


def unknown_in(store: FolderStore) -> list[str]:
    unknown = [info.key for info, manifest in covering_manifests(store, "ml/") if manifest is None]
    return [key for key in unknown if key.startswith(("ml/soups/", "ml/shards/"))]


def test_objects_that_another_purge_removed_are_not_unknown(root: Path) -> None:
    store = ListedThen(root, lambda: purged(root, CATS))

    assert unknown_in(store) == []
    assert store.times == 1
    assert list(FolderStore(root).list_versions(KEYS.shard(CATS.uid))) == []


def test_objects_that_got_a_manifest_meanwhile_are_known(root: Path) -> None:
    folder = KEYS.ingredient(BEES.uid, key_of(BEES.uid))
    manifest = FolderStore(root).get(folder + MANIFEST)
    assert manifest
    FolderStore(root).delete(folder + MANIFEST)
    writer = ListedThen(root, lambda: FolderStore(root).put(folder + MANIFEST, manifest))

    covered = {info.key: manifest for info, manifest in covering_manifests(writer, "ml/")}

    assert all(manifest for key, manifest in covered.items() if key.startswith(folder))


def test_objects_without_a_manifest_stay_unknown_when_checked_again(root: Path) -> None:
    FolderStore(root).put("ml/soups/soup-1/stray", b"who knows")

    assert unknown_in(ListedThen(root, lambda: None)) == ["ml/soups/soup-1/stray"]


def test_two_purges_side_by_side_leave_no_residuals(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge has listed for its last sweep when another one runs completely."""
    with_manifests, sweeps = artefacts.with_manifests, itertools.count(1)

    def overtaken(store: ObjectStore, infos: Sequence[ObjectInfo]) -> Iterator[Any]:
        listed = list(infos)
        if next(sweeps) == 2:
            purged(root, BEES)
        return with_manifests(store, listed)

    monkeypatch.setattr(purge, "with_manifests", overtaken)
    purged(root, CATS)

    for shard in (CATS, BEES):
        inventory = read_inventory(FolderStore(root), KEYS, shard.uid)
        assert inventory is not None
        assert inventory.complete
        assert inventory.residuals == ()


def many_shards(root: Path, count: int) -> list[str]:
    """Store so many ingredients, each a small file below its manifest."""
    uids = [f"uid-{number:04d}" for number in range(count)]
    for uid in uids:
        pair = LineagePair(shard=uid, training_key=key_of(uid))
        manifest = Manifest(kind=ArtefactKind.INGREDIENT, lineage=(pair,))
        folder = KEYS.ingredient(uid, key_of(uid))
        begin(FolderStore(root), folder, manifest)
        FolderStore(root).put(folder + "weights", b"w")
    return uids


def test_manifests_are_read_eight_at_a_time(tmp_path: Path) -> None:
    many_shards(tmp_path, 100)
    store = CountingStore(tmp_path, 0.01)

    covered = list(covering_manifests(store, "ml/"))

    assert len(covered) == 200
    assert all(manifest for _, manifest in covered)
    assert store.requests == 100
    assert store.most_at_once == CONNECTIONS


def test_the_tombstones_of_a_thousand_shards_are_checked_by_one_listing(tmp_path: Path) -> None:
    uids = [f"uid-{number:04d}" for number in range(1000)]
    FolderStore(tmp_path).put(KEYS.tombstone("uid-other"), b"")
    pairs = [LineagePair(shard=uid, training_key=key_of(uid)) for uid in uids]
    store = CountingStore(tmp_path, 0.0)

    refuse_forgotten(store, KEYS, uids, pairs)

    assert store.requests == 1
    FolderStore(tmp_path).put(KEYS.tombstone("uid-0500"), b"")
    with pytest.raises(Refused, match="shard uid-0500 was forgotten"):
        refuse_forgotten(store, KEYS, uids, pairs)
    former = former_of(Ingredient(ShardUID("uid-0007"), Digest(key_of("uid-0007"))))
    FolderStore(tmp_path).put(KEYS.tombstone(former), b"")
    with pytest.raises(Refused, match=former):
        refuse_forgotten(store, KEYS, uids, pairs)
