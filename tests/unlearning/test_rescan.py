"""A rescan removes artefacts of forgotten shards that reappeared, and nothing else."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import (
    DOGS,
    KEYS,
    SOUP,
    a_filled_store,
    a_purge,
    a_signing,
    key_of,
    keys_below,
    lay,
    lineage,
    recipe_of,
)

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.api.results import RescanResult
from stockpot.api.runspec import KeptTrainings, PurgeRun, StoreRef
from stockpot.core.digests import digest_of_bytes
from stockpot.core.recipe import Ingredient, ShardUID, former_of
from stockpot.errors import ExitCode, StockpotError
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge, sign
from stockpot.unlearning.inventory import read_inventory
from stockpot.unlearning.keys import keygen

INGREDIENT = KEYS.ingredient("uid-dogs", key_of("uid-dogs"))
REVISION = KEYS.revision("soup-1", recipe_of("uid-cats", "uid-dogs"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FolderStore:
    """A store from which dogs was purged."""
    cellar = a_filled_store(root, tmp_path / "work")
    run(a_purge(root), tmp_path)
    return cellar


def run(spec: PurgeRun, below: Path, stop: threading.Event | None = None) -> RescanResult:
    return purge.run(spec, work=below, progress=Progress(), stop=stop or threading.Event())


def rescanned(root: Path, *forgotten: str, stop: threading.Event | None = None) -> RescanResult:
    store = StoreRef(url=root.as_uri())
    spec = PurgeRun(name="collect-1", store=store, soup=SOUP, forgotten=forgotten or ("uid-dogs",))
    return run(spec, root.parent, stop)


def write_late(store: FolderStore, below: Path) -> None:
    """Write what a training and a merge write that checked for tombstones before the purge."""
    lay(store, INGREDIENT, ArtefactKind.INGREDIENT, lineage("uid-dogs"), below)
    lay(store, REVISION, ArtefactKind.REVISION, lineage("uid-cats", "uid-dogs"), below)


def test_what_was_written_after_the_receipt_is_removed(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    before = keys_below(store, "ml/")
    write_late(store, tmp_path)

    result = rescanned(root)

    assert result.purged_objects == 4
    assert keys_below(store, "ml/") == before


def test_a_rescan_that_finds_nothing_changes_nothing(store: FolderStore, root: Path) -> None:
    before = keys_below(store, "ml/")

    assert rescanned(root).purged_objects == 0
    assert keys_below(store, "ml/") == before


def test_the_inventory_that_a_receipt_names_stays_as_it_is(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    before = read_inventory(store, KEYS, "uid-dogs")
    write_late(store, tmp_path)

    rescanned(root)

    assert read_inventory(store, KEYS, "uid-dogs") == before


def test_a_single_resurrected_training_goes_and_the_shard_stays(root: Path, tmp_path: Path) -> None:
    store = a_filled_store(root, tmp_path / "work")
    cats = KEYS.ingredient("uid-cats", key_of("uid-cats"))
    newer = KEYS.ingredient("uid-cats", key_of("uid-cats without tom"))
    lay(store, newer, ArtefactKind.INGREDIENT, lineage("uid-cats without tom"), tmp_path)

    rescanned(root, former_of(Ingredient(ShardUID("uid-cats"), key_of("uid-cats"))))

    assert not keys_below(store, cats)
    assert keys_below(store, newer)


def test_a_rescan_writes_missing_tombstones_of_a_restored_store_again(
    root: Path, tmp_path: Path
) -> None:
    store = a_filled_store(root, tmp_path / "work")

    rescanned(root, "uid-dogs")

    assert store.head(KEYS.tombstone("uid-dogs"))
    assert not keys_below(store, KEYS.shard("uid-dogs"))
    assert not keys_below(store, REVISION)


def test_an_interrupted_rescan_is_repeated(store: FolderStore, root: Path, tmp_path: Path) -> None:
    write_late(store, tmp_path)
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as ended:
        rescanned(root, stop=stop)

    assert ended.value.exit_code is ExitCode.INTERRUPTED
    assert rescanned(root).purged_objects == 4


def rescanned_keeping(root: Path, kept: KeptTrainings) -> RescanResult:
    """Rescan once, with the current trainings of a living shard."""
    spec = PurgeRun(name="c", store=StoreRef(url=root.as_uri()), soup=SOUP, kept=(kept,))
    return run(spec, root.parent)


def test_an_older_training_of_a_shard_that_records_left_is_removed(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    current = KEYS.ingredient("uid-cats", key_of("uid-cats"))
    older = KEYS.ingredient("uid-cats", key_of("older"))
    late = [LineagePair(shard="uid-cats", training_key=key_of("older"))]
    before = keys_below(store, "ml/")
    lay(store, older, ArtefactKind.INGREDIENT, tuple(late), tmp_path)
    kept = KeptTrainings(
        shard="uid-cats",
        requests=(digest_of_bytes(b"now"),),
        left_out=1,
        kept=key_of("uid-cats"),
    )

    result = rescanned_keeping(root, kept)

    assert result.purged_objects == 2
    assert keys_below(store, "ml/") == before
    assert store.head(current + "manifest.json") is not None


def test_a_training_without_more_records_than_the_run_knows_of_stays(
    store: FolderStore, root: Path
) -> None:
    """More records were named after the run's spec was written."""
    folder = KEYS.training_run("uid-cats", digest_of_bytes(b"asked for a moment ago"))
    newer = LineagePair(shard="uid-cats", training_key=key_of("newer"))
    kept = KeptTrainings(shard="uid-cats", requests=(digest_of_bytes(b"now"),), left_out=2)

    def removed(left_out: int) -> int | None:
        begin(
            store,
            folder,
            Manifest(kind=ArtefactKind.TRAINING, lineage=(newer,), left_out=left_out),
        )
        return rescanned_keeping(root, kept).purged_objects

    before = rescanned_keeping(root, kept).purged_objects
    assert before
    assert [removed(3), removed(2), removed(1)] == [0, 0, 1]


def test_receipts_without_an_object_are_named(
    store: FolderStore, root: Path, tmp_path: Path
) -> None:
    keygen(tmp_path / "key.pem")
    arguments = {"work": tmp_path, "progress": Progress(), "stop": threading.Event()}
    for uid in ("uid-dogs", "uid-bees", "uid-ants"):
        shard = DOGS.model_copy(update={"uid": uid})
        run(a_purge(root).model_copy(update={"shard": shard}), tmp_path)
        signing = a_signing(root, tmp_path / "key.pem", shard)
        sign.run(signing.model_copy(update={"successor": None}), **arguments)  # type: ignore[arg-type]
    spec = PurgeRun(name="c", store=StoreRef(url=root.as_uri()), soup=SOUP)

    def unrecorded(*ranges: tuple[int, int]) -> tuple[int, ...]:
        recorded = spec.model_copy(update={"recorded_receipts": ranges})
        return run(recorded, tmp_path).unrecorded_receipts

    assert unrecorded((1, 3)) == ()
    assert unrecorded((1, 1), (3, 3)) == (2,)
    assert unrecorded() == (1, 2, 3)
