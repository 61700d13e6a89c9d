"""Incremental merges use sums only if they are intact and of the right lineage.

Invariant 1.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.merging.ingredients import (
    KEYS,
    SOUP,
    a_merge,
    an_ingredient,
    file_bytes,
    key_of,
    some_tensors,
    soup_bytes,
)
from tests.merging.soup_runs import (
    INCREMENTAL,
    SCRATCH,
    SHAPES,
    flipped,
    from_scratch,
    ingredient_of,
    kept,
    merged,
    parts_of,
    sums_of,
)

from stockpot.api.runspec import ObjectRef, PurgeRun, StoreRef
from stockpot.errors import ExitCode, StockpotError
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import read_manifest
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST
from stockpot.unlearning import purge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "store"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def absent(path: Path) -> None:
    path.unlink()


def with_another_index(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"widths":"4', b'"widths":"8', 1))


def of_another_recipe(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b'"recipe":"sha256:') + 17
    path.write_bytes(data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


@pytest.mark.parametrize(
    "harm", [flipped, truncated, emptied, absent, with_another_index, of_another_recipe, noise]
)
def test_damaged_sums_are_not_used_and_are_made_again(
    root: Path, harm: Callable[[Path], None]
) -> None:
    parts = parts_of(root, 9)
    first, second = a_merge(root, parts[:8]), a_merge(root, parts)
    merged(first, root)
    harm(sums_of(root, first))

    result = merged(second, root)

    assert result.way == SCRATCH
    assert soup_bytes(root, second) == from_scratch(root, parts, second)
    assert [manifest.recipe_digest for manifest in kept(root)] == [second.recipe_digest]
    assert merged(a_merge(root, parts[1:]), root).way == INCREMENTAL


def test_a_flipped_bit_in_the_sums_never_changes_a_soup(root: Path) -> None:
    work = root.parent / "work"
    data = [some_tensors(i, "F16", SHAPES) for i in range(9)]
    data[3]["b.bias"] = ("F16", (19,), np.full(19, -0.0, "<f2").tobytes())  # Exceptions.
    parts = [
        an_ingredient(root, f"s{i}", file_bytes(tensors), work) for i, tensors in enumerate(data)
    ]
    first, second = a_merge(root, parts[:8]), a_merge(root, parts)
    merged(first, root)
    path, dice = sums_of(root, first), random.Random(9)
    was, store = path.read_bytes(), FolderStore(root)
    want = from_scratch(root, parts, second)
    for _ in range(8):
        harmed = bytearray(was)
        harmed[dice.randrange(len(was))] ^= 1 << dice.randrange(8)
        path.write_bytes(harmed)

        result = merged(second, root)

        assert result.way == SCRATCH
        assert soup_bytes(root, second) == want
        store.delete(KEYS.revision(SOUP.uid, second.recipe_digest) + MANIFEST)
        store.delete(KEYS.accumulator(SOUP.uid, second.recipe_digest) + MANIFEST)
        manifest = KEYS.accumulator(SOUP.uid, first.recipe_digest) + MANIFEST
        assert store.head(manifest) is None  # Damaged sums are not kept.
        store.delete(KEYS.revision(SOUP.uid, first.recipe_digest) + MANIFEST)
        merged(first, root)
        assert path.read_bytes() == was


def test_all_ingredients_are_read_if_the_one_that_left_is_missing(root: Path) -> None:
    parts = parts_of(root, 9)
    merged(a_merge(root, parts), root)
    ingredient_of(root, parts[8]).unlink()

    spec = a_merge(root, parts[:8])
    result = merged(spec, root)

    assert result.way == SCRATCH
    assert soup_bytes(root, spec) == from_scratch(root, parts[:8], spec)


def test_an_ingredient_that_left_and_was_edited_is_not_subtracted(root: Path) -> None:
    parts = parts_of(root, 9)
    merged(a_merge(root, parts), root)
    flipped(ingredient_of(root, parts[8]))

    spec = a_merge(root, parts[:8])
    result = merged(spec, root)

    assert result.way == SCRATCH
    assert soup_bytes(root, spec) == from_scratch(root, parts[:8], spec)


def test_an_edited_ingredient_that_joins_is_refused(root: Path) -> None:
    parts = parts_of(root, 9)
    merged(a_merge(root, parts[:8]), root)
    flipped(ingredient_of(root, parts[8]))

    with pytest.raises(StockpotError) as caught:
        merged(a_merge(root, parts), root)

    assert caught.value.exit_code == ExitCode.BAD_WEIGHTS
    assert "shards/shard-8/" in caught.value.message
    assert "it was edited" in caught.value.message


def test_sums_with_a_forgotten_shard_are_not_read(root: Path) -> None:
    parts = parts_of(root, 9)
    merged(a_merge(root, parts), root)
    FolderStore(root).put(KEYS.tombstone("shard-8"), b"{}")

    spec = a_merge(root, parts[:8])
    result = merged(spec, root)

    assert result.way == SCRATCH
    assert soup_bytes(root, spec) == from_scratch(root, parts[:8], spec)


def test_a_purge_removes_only_the_sums_that_hold_the_shard(root: Path) -> None:
    parts = parts_of(root, 9)
    with_it, without = a_merge(root, parts), a_merge(root, parts[:8])
    merged(with_it, root)
    assert merged(without, root).way == INCREMENTAL
    assert len(kept(root)) == 2
    work, stop = root.parent / "work", threading.Event()
    shard = ObjectRef(namespace="ml", name="shard-8", uid="shard-8")
    order = PurgeRun(name="purge-1", store=StoreRef(url=root.as_uri()), soup=SOUP, shard=shard)

    purge.run(order, work=work, progress=Progress(), stop=stop)

    tainted = KEYS.accumulator(SOUP.uid, with_it.recipe_digest)
    assert list(FolderStore(root).list_versions(tainted)) == []
    (left,) = kept(root)
    assert left.recipe_digest == without.recipe_digest
    assert {pair.shard for pair in left.lineage} == {f"shard-{i}" for i in range(8)}
    # The remaining sums equal those of a soup that never held the shard.
    was = sums_of(root, without).read_bytes()
    fresh = root.parent / "fresh"
    (fresh / "work").mkdir(parents=True)
    again = a_merge(fresh / "store", parts_of(fresh / "store", 8))
    assert merged(again, fresh / "store").way == SCRATCH
    assert sums_of(fresh / "store", again).read_bytes() == was


def test_sums_of_another_base_are_not_used(root: Path) -> None:
    parts = parts_of(root, 9)
    first = a_merge(root, parts[:8])
    merged(first, root)
    store, folder = FolderStore(root), KEYS.accumulator(SOUP.uid, first.recipe_digest)
    manifest = read_manifest(store, folder)
    assert manifest is not None
    other = manifest.model_copy(update={"base_digest": key_of("another base")})
    store.put(folder + MANIFEST, other.model_dump_json().encode())

    assert merged(a_merge(root, parts), root).way == SCRATCH
