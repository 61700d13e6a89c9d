"""The verb, when a recipe changes: what it reads, what it keeps, whom it trusts, how it dies.

Invariant 1.
"""

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.merging.killing import Mortal
from tests.merging.kitchen import (
    KEYS,
    SOUP,
    a_merge,
    an_ingredient,
    file_bytes,
    key_of,
    some_tensors,
    soup_bytes,
)
from tests.merging.test_kernel import adversarial

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.api.results import MergeResult
from stockpot.api.runspec import MergeRun, ObjectRef, PurgeRun, RecipePart, StoreRef
from stockpot.api.training import WeightsDtype
from stockpot.errors import ExitCode, StockpotError
from stockpot.merging import accumulator, merge
from stockpot.merging.engine import MergeSettings
from stockpot.merging.formats import FORMATS
from stockpot.merging.kernel import installed
from stockpot.merging.run import run
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import find_complete, is_complete, read_manifest
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST, SUMS, WEIGHTS
from stockpot.store.ranges import ObjectBytes
from stockpot.unlearning import purge

SHAPES = {"a.weight": (40, 7), "b.bias": (19,), "c": ()}
SCRATCH, INCREMENTAL = "FromScratch", "Incremental"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "store"


def merged(spec: MergeRun, root: Path) -> MergeResult:
    return run(spec, work=root.parent / "work", progress=Progress(), stop=threading.Event())


def parts_of(root: Path, count: int = 8, dtype: str = "F16") -> list[RecipePart]:
    work = root.parent / "work"
    return [
        an_ingredient(root, f"shard-{i}", file_bytes(some_tensors(i, dtype, SHAPES)), work)
        for i in range(count)
    ]


def ingredient_of(root: Path, part: RecipePart) -> Path:
    return root / KEYS.ingredient(part.shard_uid, part.training_key) / WEIGHTS


def sums_of(root: Path, spec: MergeRun) -> Path:
    return root / KEYS.accumulator(SOUP.uid, spec.recipe_digest) / SUMS


def kept(root: Path) -> list[Manifest]:
    """The accumulators that can be gone by."""
    store = FolderStore(root)
    above = KEYS.accumulators(SOUP.uid)
    folders = sorted({info.key[: info.key.rfind("/") + 1] for info in store.list(above)})
    return [found for folder in folders if (found := find_complete(store, folder))]


def from_scratch(root: Path, parts: Sequence[RecipePart], spec: MergeRun) -> bytes:
    """The bytes of the same recipe, averaged by what people use, which knows no sums."""
    path = root.parent / "scratch.safetensors"
    dtype = {"fp16": "fp16", "bf16": "bf16", "fp32": "fp32"}[spec.output.value]
    merge({ingredient_of(root, part): part.weight for part in parts}, path, out_dtype=dtype)
    return path.read_bytes()


def test_a_shard_that_joins_or_leaves_is_read_alone_with_the_sums(root: Path) -> None:
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


def test_only_what_changed_is_read(root: Path) -> None:
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
def test_any_history_of_a_soup_leaves_the_bytes_of_a_fresh_one(
    root: Path, dtype: str, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiny blocks, so that there are several; and room for an accumulator of nothing but exceptions.
    monkeypatch.setattr("stockpot.merging.ledger.BLOCK_ELEMENTS", 64)
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
    absent = [one for one in pool if one.shard_uid not in {part.shard_uid for part in recipe}]
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


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


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
def test_sums_that_are_doubtful_are_not_used_but_made_again(
    root: Path, harm: Callable[[Path], None]
) -> None:
    parts = parts_of(root, 9)
    first, second = a_merge(root, parts[:8]), a_merge(root, parts)
    merged(first, root)
    harm(sums_of(root, first))

    result = merged(second, root)

    assert result.way == SCRATCH
    assert soup_bytes(root, second) == from_scratch(root, parts, second)
    assert [one.recipe_digest for one in kept(root)] == [second.recipe_digest]
    assert merged(a_merge(root, parts[1:]), root).way == INCREMENTAL


def test_no_bit_of_the_sums_that_flips_changes_a_soup(root: Path) -> None:
    work = root.parent / "work"
    data = [some_tensors(i, "F16", SHAPES) for i in range(9)]
    data[3]["b.bias"] = ("F16", (19,), np.full(19, -0.0, "<f2").tobytes())  # Exceptions.
    parts = [an_ingredient(root, f"s{i}", file_bytes(one), work) for i, one in enumerate(data)]
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
        assert store.head(manifest) is None  # It was not believed, and so not kept.
        store.delete(KEYS.revision(SOUP.uid, first.recipe_digest) + MANIFEST)
        merged(first, root)
        assert path.read_bytes() == was


def test_threads_stores_and_the_kernel_change_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(root, 9)
    monkeypatch.setattr("stockpot.merging.ledger.BLOCK_ELEMENTS", 16)
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


def test_without_the_ingredient_that_left_all_is_read(root: Path) -> None:
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


def test_an_ingredient_that_joins_is_held_to_what_all_are(root: Path) -> None:
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


def test_a_purge_removes_the_sums_with_the_shard_and_leaves_those_without(root: Path) -> None:
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
    # What is left has no trace: it is what it would be had the shard never been there.
    was = sums_of(root, without).read_bytes()
    fresh = root.parent / "fresh"
    (fresh / "work").mkdir(parents=True)
    again = a_merge(fresh / "store", parts_of(fresh / "store", 8))
    assert merged(again, fresh / "store").way == SCRATCH
    assert sums_of(fresh / "store", again).read_bytes() == was


def test_the_sums_of_the_last_two_recipes_are_kept(root: Path) -> None:
    parts = parts_of(root, 12)
    specs = [a_merge(root, parts[:count]) for count in (8, 9, 10, 11, 12)]

    for spec in specs:
        merged(spec, root)

    assert {one.recipe_digest for one in kept(root)} == {one.recipe_digest for one in specs[-2:]}
    assert {one.kind for one in kept(root)} == {ArtefactKind.ACCUMULATOR}


def test_few_ingredients_are_read_and_no_sums_are_kept(root: Path) -> None:
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
    parts = [an_ingredient(root, f"s{i}", file_bytes(one), work) for i, one in enumerate(data)]

    spec = a_merge(root, parts)
    merged(spec, root)

    assert kept(root) == []
    assert soup_bytes(root, spec) == from_scratch(root, parts, spec)


def test_a_disk_without_room_for_sums_is_no_reason_not_to_merge(root: Path) -> None:
    parts = parts_of(root, 9)
    spec = a_merge(root, parts)
    scratch = root.parent / "work" / "merge"

    class Full(Progress):
        def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
            if phase == "merging":  # Every write to it says that there is no space left.
                scratch.mkdir(parents=True)
                (scratch / SUMS).symlink_to("/dev/full")

    result = run(spec, work=root.parent / "work", progress=Full(), stop=threading.Event())

    assert result.way == SCRATCH
    assert kept(root) == []
    assert soup_bytes(root, spec) == from_scratch(root, parts, spec)


def test_another_base_has_other_sums(root: Path) -> None:
    parts = parts_of(root, 9)
    first = a_merge(root, parts[:8])
    merged(first, root)
    store, folder = FolderStore(root), KEYS.accumulator(SOUP.uid, first.recipe_digest)
    manifest = read_manifest(store, folder)
    assert manifest is not None
    other = manifest.model_copy(update={"base_digest": key_of("another base")})
    store.put(folder + MANIFEST, other.model_dump_json().encode())

    assert merged(a_merge(root, parts), root).way == SCRATCH


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
    with Mortal("stockpot.merging.run", spec, tmp_path) as mortal:
        moments = mortal.lives()
        whole = soup_bytes(root, spec)
        sums = sums_of(root, spec).read_bytes()

        for at in sorted(random.Random(11).sample(range(1, moments), 8)):
            for info in [*store.list_versions(revision), *store.list_versions(above)]:
                store.purge(info)
            for key, data in before.items():
                assert data is not None
                store.put(key, data)
            mortal.dies(at)

            for info in store.list_versions(above):
                manifest = read_manifest(store, info.key[: info.key.rfind("/") + 1])
                if manifest is None:  # Its first one was being written.
                    assert info.version
                    assert info.key.endswith(MANIFEST)
                    continue
                named = {pair.shard for pair in manifest.lineage}
                assert named >= {"shard-0", "shard-6"}
            was_published = (found := read_manifest(store, revision)) and is_complete(found)
            again = merged(spec, root)
            assert again.reused or not was_published
            assert soup_bytes(root, spec) == whole
            if not again.reused:
                assert again.way == INCREMENTAL
                assert sums_of(root, spec).read_bytes() == sums
                assert len(kept(root)) == 2
