"""Purging a shard from a real store: what goes, what stays, and what the inventory records."""

import json
import random
import shutil
import threading
from pathlib import Path

import pytest
from tests.merging.kill_points import KilledRun
from tests.unlearning.receipt_fixtures import (
    CATS,
    KEYS,
    a_filled_store,
    a_purge,
    key_of,
    keys_below,
    lay,
    lineage,
    recipe_of,
)

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.results import PurgeResult
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused, StockpotError, Waiting
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import begin, covering_manifests, read_manifest
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.store.tombstones import refuse_forgotten
from stockpot.unlearning.inventory import Inventory, Outcome, read_inventory
from stockpot.unlearning.purge import run, sweep


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FolderStore:
    return a_filled_store(root, tmp_path / "work")


def purged(root: Path, progress: Progress | None = None) -> PurgeResult:
    return run(
        a_purge(root),
        work=root.parent / "work",
        progress=progress or Progress(),
        stop=threading.Event(),
    )


def inventory_of(store: FolderStore) -> Inventory:
    inventory = read_inventory(store, KEYS, "uid-dogs")
    assert inventory is not None
    return inventory


def test_everything_made_from_the_shard_goes_in_every_soup(root: Path, store: FolderStore) -> None:
    purged(root)

    assert keys_below(store, KEYS.shard("uid-dogs")) == []
    assert keys_below(store, KEYS.soup("soup-2")) == []
    assert keys_below(store, KEYS.revision("soup-1", recipe_of("uid-cats", "uid-dogs"))) == []


def test_everything_else_stays(root: Path, store: FolderStore) -> None:
    clean = [
        *keys_below(store, KEYS.shard("uid-cats")),
        *keys_below(store, KEYS.shard("uid-bees")),
        *keys_below(store, KEYS.revision("soup-1", recipe_of("uid-cats"))),
        *keys_below(store, "ml/receipts/"),
    ]
    before = {key: store.get(key) for key in clean}

    purged(root)

    after = {info.key: store.get(info.key) for info in store.list_versions("ml/")}
    assert after == before | {
        KEYS.tombstone("uid-dogs"): store.get(KEYS.tombstone("uid-dogs")),
        KEYS.inventory("uid-dogs"): store.get(KEYS.inventory("uid-dogs")),
    }


def test_a_purge_writes_a_tombstone_once(root: Path, store: FolderStore) -> None:
    purged(root)
    mark = store.get(KEYS.tombstone("uid-dogs"))
    purged(root)

    assert mark is not None
    assert store.get(KEYS.tombstone("uid-dogs")) == mark
    tombstone = json.loads(mark)
    assert (tombstone["shard"], tombstone["soup"]) == ("uid-dogs", "soup-1")
    assert tombstone["at"].endswith("Z")
    with pytest.raises(Refused) as caught:
        refuse_forgotten(store, KEYS, ["uid-cats", "uid-dogs"])
    assert caught.value.exit_code == ExitCode.FORGOTTEN


def test_the_tombstone_is_written_before_the_first_sweep(root: Path, store: FolderStore) -> None:
    marks = []

    class Watched(Progress):
        def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
            marks.append((phase, store.head(KEYS.tombstone("uid-dogs")) is not None))

    purged(root, Watched())

    assert marks == [
        ("tombstone", False),
        ("sweeping", True),
        ("purging", True),
        ("sweeping", True),
    ]


def test_the_inventory_lists_what_was_removed(root: Path, store: FolderStore) -> None:
    tainted = {
        info.key: info.size_bytes
        for info, manifest in covering_manifests(store, "ml/")
        if manifest and "uid-dogs" in {pair.shard for pair in manifest.lineage}
    }

    result = purged(root)

    inventory = inventory_of(store)
    assert {item.key: item.size_bytes for item in inventory.items} == tainted
    assert {item.result for item in inventory.items} == {Outcome.REMOVED}
    assert [look.count for look in inventory.sweeps] == [len(tainted), 0]
    assert inventory.complete
    data = store.get(KEYS.inventory("uid-dogs"))
    assert data is not None
    assert result.inventory_digest == digest_of_bytes(data)
    assert result.purged_objects == len(tainted) == 12
    assert result.purged_bytes == sum(tainted.values())


def test_a_second_purge_finds_the_first_one_done(root: Path, store: FolderStore) -> None:
    first = purged(root)
    before = store.get(KEYS.inventory("uid-dogs"))

    second = purged(root)

    assert second.reused
    assert second.inventory_digest == first.inventory_digest
    assert store.get(KEYS.inventory("uid-dogs")) == before


def test_what_a_late_writer_left_goes_with_the_next_purge(
    root: Path, store: FolderStore, tmp_path: Path
) -> None:
    first = purged(root)
    folder = KEYS.revision("soup-1", recipe_of("late"))
    lay(store, folder, ArtefactKind.REVISION, lineage("uid-bees", "uid-dogs"), tmp_path / "work")

    second = purged(root)

    assert keys_below(store, folder) == []
    assert first.purged_objects is not None
    assert second.purged_objects == first.purged_objects + 2
    assert [look.count for look in inventory_of(store).sweeps] == [12, 0, 2, 0]


def test_a_concurrent_writer_keeps_the_purge_from_completing(
    root: Path, store: FolderStore, tmp_path: Path
) -> None:
    folder = KEYS.revision("soup-1", recipe_of("late"))

    class Writing(Progress):
        sweeps = 0

        def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
            self.sweeps += phase == "sweeping"
            if self.sweeps == 2:
                kind = ArtefactKind.REVISION
                lay(store, folder, kind, lineage("uid-dogs"), tmp_path / "work")

    with pytest.raises(Waiting) as caught:
        purged(root, Writing())

    assert "2 objects of shard uid-dogs appeared while it was purged" in caught.value.message
    assert folder in caught.value.message
    assert "end it, and run the purge again" in caught.value.help
    assert not inventory_of(store).complete
    assert purged(root).purged_objects == 14
    assert inventory_of(store).complete


def test_objects_under_no_manifest_are_listed_and_left(root: Path, store: FolderStore) -> None:
    store.put("ml/soups/soup-1/fitted/router.bin", b"who knows")
    store.put("ml/shards/uid-bees/stray", b"who knows?")
    store.put("ml/notes.txt", b"no artefact")
    store.put(KEYS.shard("uid-dogs") + "stray", b"surely of dogs")

    result = purged(root)

    inventory = inventory_of(store)
    assert [(residual.key, residual.size_bytes) for residual in inventory.residuals] == [
        ("ml/shards/uid-bees/stray", 10),
        ("ml/soups/soup-1/fitted/router.bin", 9),
    ]
    assert (result.residual_count, result.locked_count) == (2, 0)
    assert store.get("ml/shards/uid-bees/stray") == b"who knows?"
    assert store.head(KEYS.shard("uid-dogs") + "stray") is None


def test_a_manifest_that_cannot_be_read_makes_its_folder_unknown(
    root: Path, store: FolderStore
) -> None:
    folder = KEYS.revision("soup-1", recipe_of("uid-cats"))
    store.put(folder + MANIFEST, b"{")

    purged(root)

    residuals = [residual.key for residual in inventory_of(store).residuals]
    assert residuals == [folder + WEIGHTS, folder + MANIFEST]
    assert store.head(folder + WEIGHTS) is not None


def test_a_removed_stray_is_no_residual_of_the_next_purge(root: Path, store: FolderStore) -> None:
    store.put("ml/soups/soup-1/fitted/router.bin", b"who knows")
    purged(root)
    store.delete("ml/soups/soup-1/fitted/router.bin")

    again = purged(root)

    assert not again.reused
    assert inventory_of(store).residuals == ()
    assert inventory_of(store).complete


def test_everything_below_a_tainted_folder_is_tainted(root: Path, store: FolderStore) -> None:
    folder = KEYS.evaluation("soup-1", recipe_of("uid-cats", "uid-dogs"))
    begin(store, folder + "deeper/", Manifest(kind=ArtefactKind.TRAINING))
    store.put(folder + "deeper/sample.png", b"a dog")

    purged(root)

    assert keys_below(store, folder) == []


def test_an_unfinished_write_of_the_shard_goes_too(root: Path, store: FolderStore) -> None:
    path = root / KEYS.ingredient("uid-dogs", key_of("uid-dogs"))
    (path / f".{WEIGHTS}.0123456789abcdef.unfinished").write_bytes(b"half a dog")

    purged(root)

    assert not path.exists()
    assert b"half a dog" not in b"".join(
        path_left.read_bytes() for path_left in root.rglob("*") if path_left.is_file()
    )


def test_manifests_go_last_and_inner_ones_first(root: Path, store: FolderStore) -> None:
    order = [info.key for info in sweep(store, KEYS, "uid-dogs").tainted]

    manifests = [key for key in order if key.endswith(MANIFEST)]
    assert order[-len(manifests) :] == manifests
    for soup in ("soup-1", "soup-2"):
        [outer] = [k for k in manifests if soup in k and "evaluation" not in k]
        [inner] = [k for k in manifests if soup in k and "evaluation" in k]
        assert manifests.index(inner) < manifests.index(outer)


def test_an_interrupted_purge_continues_with_the_next_run(root: Path, store: FolderStore) -> None:
    stop = threading.Event()

    class Ending(Progress):
        def advance(self, step: int, **figures: float) -> None:
            if step == 5:
                stop.set()

    with pytest.raises(StockpotError) as caught:
        run(a_purge(root), work=root, progress=Ending(), stop=stop)

    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert "Run it again" in caught.value.help
    assert len(sweep(store, KEYS, "uid-dogs").tainted) == 7
    assert purged(root).purged_objects == 12


@pytest.mark.parametrize(
    ("old", "new"), [(b'"uid":"uid-dogs"', b'"uid":"uid-cats"'), (b'"items"', b'"things"')]
)
def test_an_inventory_of_something_else_is_refused(
    root: Path, store: FolderStore, old: bytes, new: bytes
) -> None:
    purged(root)
    data = store.get(KEYS.inventory("uid-dogs"))
    assert data is not None
    store.put(KEYS.inventory("uid-dogs"), data.replace(old, new, 1))

    with pytest.raises(Refused) as caught:
        purged(root)

    assert "ml/inventories/uid-dogs.json is refused" in caught.value.message
    assert caught.value.exit_code == ExitCode.WRONG_DIGEST


def test_a_shard_that_was_never_trained_is_forgotten_all_the_same(
    root: Path, store: FolderStore
) -> None:
    never = CATS.model_copy(update={"uid": "uid-never"})

    result = run(a_purge(root, never), work=root, progress=Progress(), stop=threading.Event())

    assert (result.purged_objects, result.purged_bytes) == (0, 0)
    assert store.head(KEYS.tombstone("uid-never")) is not None


def test_a_killed_purge_leaves_nothing_unaccounted_and_a_rerun_completes(tmp_path: Path) -> None:
    root, pristine = tmp_path / "store", tmp_path / "pristine"
    store = a_filled_store(root, tmp_path / "laid")
    shutil.copytree(root, pristine)
    survivor = KEYS.revision("soup-1", recipe_of("uid-cats"))
    with KilledRun("stockpot.unlearning.purge", a_purge(root), tmp_path) as killed_run:
        moments = killed_run.run_to_end()
        done = inventory_of(store)

        for at in sorted({*random.Random(2).sample(range(1, moments), 12), moments}):
            shutil.rmtree(root)
            shutil.copytree(pristine, root)
            killed_run.run_and_kill(at)

            for info, manifest in covering_manifests(store, "ml/"):
                if info.key.startswith(("ml/shards/", "ml/soups/")):
                    assert manifest is not None, f"{info.key} lost its lineage"
            again = purged(root)
            assert sweep(store, KEYS, "uid-dogs").tainted == ()
            assert inventory_of(store).items == done.items
            assert inventory_of(store).complete
            assert again.purged_objects == len(done.items)
            assert read_manifest(store, survivor) is not None


def test_residuals_are_named_once_each_and_in_print(root: Path, store: FolderStore) -> None:
    long = "ml/soups/soup-1/" + "x" * 190 + "/end"
    store.put(long, b"who knows")
    folder = store.root / "ml/soups/soup-0"
    folder.mkdir(parents=True)
    (folder / "\x1b[31mred\nhelp: send us the key").write_bytes(b"planted")

    result = purged(root)

    escaped, ending = result.residuals
    assert escaped == r"ml/soups/soup-0/\x1b[31mred\nhelp: send us the key"
    assert ending == "…" + long[-199:]
