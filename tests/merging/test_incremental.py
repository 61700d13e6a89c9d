"""Incremental merges: what they read, which sums they keep, and what a killed merge leaves.

Invariant 1.
"""

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.merging.ingredients import (
    KEYS,
    SOUP,
    a_merge,
    an_ingredient,
    file_bytes,
    some_tensors,
    soup_bytes,
)
from tests.merging.kill_points import KilledRun
from tests.merging.soup_runs import (
    INCREMENTAL,
    SCRATCH,
    SHAPES,
    from_scratch,
    ingredient_of,
    kept,
    merged,
    parts_of,
    sums_of,
)
from tests.merging.test_kernel import adversarial

from stockpot.api.manifest import ArtefactKind
from stockpot.api.runspec import RecipePart
from stockpot.api.training import WeightsDtype
from stockpot.merging import accumulator
from stockpot.merging.formats import FORMATS
from stockpot.merging.interfaces import MergeSettings
from stockpot.merging.kernel import installed
from stockpot.merging.run import run
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import is_complete, read_manifest
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST, SUMS
from stockpot.store.ranges import ObjectBytes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "store"


def test_only_the_shard_that_joins_or_leaves_and_the_sums_are_read(root: Path) -> None:
    parts = parts_of(root, 9)
    first, joined, left = (a_merge(root, some) for some in (parts[:8], parts, parts[1:]))

    results = [merged(spec, root) for spec in (first, joined, left)]

    ingredient_bytes = ingredient_of(root, parts[0]).stat().st_size
    sums_bytes = sums_of(root, joined).stat().st_size
    assert [result.way for result in results] == [SCRATCH, INCREMENTAL, INCREMENTAL]
    assert [result.read_bytes for result in results[:2]] == [
        8 * ingredient_bytes,
        ingredient_bytes + sums_bytes,
    ]
    assert soup_bytes(root, joined) == from_scratch(root, parts, joined)
    assert soup_bytes(root, left) == from_scratch(root, parts[1:], left)
    manifest = read_manifest(FolderStore(root), KEYS.revision(SOUP.uid, left.recipe_digest))
    assert manifest is not None
    assert manifest.facts["way"] == INCREMENTAL


def test_unchanged_ingredients_are_not_read(root: Path) -> None:
    parts = parts_of(root, 9)
    merged(a_merge(root, parts[:8]), root)
    for part in parts[:8]:
        ingredient_of(root, part).unlink()

    spec = a_merge(root, parts)
    merged(spec, root)

    for number, part in enumerate(parts[:8]):
        data = file_bytes(some_tensors(number, "F16", SHAPES))
        ingredient_of(root, part).write_bytes(data)
    assert soup_bytes(root, spec) == from_scratch(root, parts, spec)


@pytest.mark.parametrize(("dtype", "changes"), [("F16", 60), ("BF16", 20), ("F32", 20)])
def test_any_history_of_a_soup_gives_the_bytes_of_a_merge_from_scratch(
    root: Path, dtype: str, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiny blocks, so that there are several, and sums are always used and kept.
    monkeypatch.setattr("stockpot.merging.incremental_sums.BLOCK_ELEMENTS", 64)
    monkeypatch.setattr("stockpot.merging.recipes.is_cheaper", lambda *_: True)
    monkeypatch.setattr("stockpot.merging.recipes.is_worth_keeping", lambda *_: True)
    dice, form = random.Random(dtype), FORMATS[dtype]
    pool = []
    elements = sum(int(np.prod(shape)) for shape in SHAPES.values())
    rows = adversarial(np.random.default_rng(1), 10, elements, form)
    for number, row in enumerate(rows):
        data = file_bytes(
            {
                key: (dtype, shape, row[at : at + int(np.prod(shape))].tobytes())
                for (key, shape), at in zip(SHAPES.items(), (0, 280, 299), strict=True)
            }
        )
        pool.append(an_ingredient(root, f"shard-{number}", data, root.parent / "work"))
    output = {"F16": WeightsDtype.FP16, "BF16": WeightsDtype.BF16, "F32": WeightsDtype.FP32}[dtype]
    recipe, ways = pool[:3], []
    for number in range(changes):
        recipe = changed(dice, recipe, pool)
        spec = a_merge(root, recipe, output)

        result = merged(spec, root)

        if result.reused:
            continue
        ways.append(result.way)
        assert soup_bytes(root, spec) == from_scratch(root, recipe, spec)
        assert len(kept(root)) <= 2
        if number % 30 == 10:
            was = sums_of(root, spec).read_bytes()
            for manifest in kept(root):
                folder = KEYS.accumulator(SOUP.uid, str(manifest.recipe_digest))
                (root / folder / MANIFEST).unlink()
            (root / KEYS.revision(SOUP.uid, spec.recipe_digest) / MANIFEST).unlink()
            assert merged(spec, root).way == SCRATCH
            assert sums_of(root, spec).read_bytes() == was
    assert ways[0] == SCRATCH
    assert set(ways[1:]) == {INCREMENTAL}


def changed(
    dice: random.Random, recipe: list[RecipePart], pool: list[RecipePart]
) -> list[RecipePart]:
    absent = [other for other in pool if other.shard_uid not in {part.shard_uid for part in recipe}]
    kind = dice.choice(["add", "remove", "weigh"])
    after = list(recipe)
    if kind == "add" and absent:
        after.append(dice.choice(absent))
    elif kind == "remove" and len(after) > 2:
        after.remove(dice.choice(after))
    else:
        at = dice.randrange(len(after))
        after[at] = after[at].model_copy(update={"weight": dice.choice([1, 2, 3, 10, 500])})
    common = int(np.gcd.reduce([part.weight for part in after]))
    return [part.model_copy(update={"weight": part.weight // common}) for part in after]


def test_threads_stores_and_the_kernel_change_no_byte(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(root, 9)
    monkeypatch.setattr("stockpot.merging.incremental_sums.BLOCK_ELEMENTS", 16)
    first, second = a_merge(root, parts[:8]), a_merge(root, parts)
    made = set()
    for kernel, block_bytes, is_near in ((installed(), None, False), (None, 64, True)):
        settings = MergeSettings(3, kernel, block_bytes)
        monkeypatch.setattr(
            "stockpot.merging.run.MergeSettings", lambda *_, chosen=settings: chosen
        )
        monkeypatch.setattr(ObjectBytes, "is_near", is_near)
        ways = [merged(spec, root).way for spec in (first, second)]
        assert ways == [SCRATCH, INCREMENTAL]
        made.add((soup_bytes(root, second), sums_of(root, second).read_bytes()))
        for path in (root / KEYS.soup(SOUP.uid)).rglob(MANIFEST):
            path.unlink()
    assert len(made) == 1


def test_the_sums_of_the_last_two_recipes_are_kept(root: Path) -> None:
    parts = parts_of(root, 12)
    specs = [a_merge(root, parts[:count]) for count in (8, 9, 10, 11, 12)]

    for spec in specs:
        merged(spec, root)

    assert {manifest.recipe_digest for manifest in kept(root)} == {
        spec.recipe_digest for spec in specs[-2:]
    }
    assert {manifest.kind for manifest in kept(root)} == {ArtefactKind.ACCUMULATOR}


def test_no_sums_are_kept_of_few_ingredients(root: Path) -> None:
    parts = parts_of(root, 8)

    assert merged(a_merge(root, parts[:5]), root).way == SCRATCH
    assert kept(root) == []
    merged(a_merge(root, parts), root)
    assert len(kept(root)) == 1
    assert merged(a_merge(root, parts[:3]), root).way == SCRATCH
    assert kept(root) == []


def test_sums_with_too_many_exceptions_are_not_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accumulator, "MOST_EXCEPTIONS", 5)
    work = root.parent / "work"
    data = [some_tensors(i, "F16", {"a": (40,)}) for i in range(8)]
    data[3]["a"] = ("F16", (40,), np.full(40, -0.0, "<f2").tobytes())
    parts = [
        an_ingredient(root, f"s{i}", file_bytes(tensors), work) for i, tensors in enumerate(data)
    ]

    spec = a_merge(root, parts)
    merged(spec, root)

    assert kept(root) == []
    assert soup_bytes(root, spec) == from_scratch(root, parts, spec)


def test_a_full_disk_for_sums_does_not_stop_the_merge(root: Path) -> None:
    parts = parts_of(root, 9)
    spec = a_merge(root, parts)
    scratch = root.parent / "work" / "merge"

    class Full(Progress):
        def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
            if phase == "merging":  # Every write to it fails for lack of space.
                scratch.mkdir(parents=True)
                (scratch / SUMS).symlink_to("/dev/full")

    result = run(spec, work=root.parent / "work", progress=Full(), stop=threading.Event())

    assert result.way == SCRATCH
    assert kept(root) == []
    assert soup_bytes(root, spec) == from_scratch(root, parts, spec)


def test_a_killed_merge_leaves_no_sums_without_lineage_and_a_rerun_completes(
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    root = tmp_path / "store"
    parts = parts_of(root, 9)
    first, spec = a_merge(root, parts[:8]), a_merge(root, parts)
    store = FolderStore(root)
    above, revision = KEYS.accumulators(SOUP.uid), KEYS.revision(SOUP.uid, spec.recipe_digest)
    merged(a_merge(root, parts[:7]), root)
    merged(first, root)
    before = {info.key: store.get(info.key) for info in store.list(above)}
    with KilledRun("stockpot.merging.run", spec, tmp_path) as killed_run:
        moments = killed_run.run_to_end()
        whole = soup_bytes(root, spec)
        sums = sums_of(root, spec).read_bytes()

        for at in sorted(random.Random(11).sample(range(1, moments), 8)):
            for info in [*store.list_versions(revision), *store.list_versions(above)]:
                store.purge(info)
            for key, data in before.items():
                assert data is not None
                store.put(key, data)
            killed_run.run_and_kill(at)

            for info in store.list_versions(above):
                manifest = read_manifest(store, info.key[: info.key.rfind("/") + 1])
                if manifest is None:  # Its first manifest was being written.
                    assert info.version
                    assert info.key.endswith(MANIFEST)
                    continue
                named = {pair.shard for pair in manifest.lineage}
                assert named >= {"shard-0", "shard-6"}
            was_published = (published := read_manifest(store, revision)) and is_complete(published)
            again = merged(spec, root)
            assert again.reused or not was_published
            assert soup_bytes(root, spec) == whole
            if not again.reused:
                assert again.way == INCREMENTAL
                assert sums_of(root, spec).read_bytes() == sums
                assert len(kept(root)) == 2
