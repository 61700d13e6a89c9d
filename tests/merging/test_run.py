"""The merge run on a folder store: its results, reuse, refusals, and behaviour when killed."""

import random
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.merging.ingredients import (
    BASE,
    KEYS,
    a_base_folder,
    a_merge,
    an_ingredient,
    everything,
    file_bytes,
    key_of,
    some_tensors,
    soup_bytes,
)
from tests.merging.kill_points import KilledRun

from stockpot.api.manifest import LineagePair
from stockpot.api.results import MergeResult
from stockpot.api.runspec import BaseRef, Location, MergeRun, Place, RecipePart
from stockpot.api.training import WeightsDtype
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, StockpotError
from stockpot.merging.interfaces import MergeSettings
from stockpot.merging.run import run
from stockpot.metrics.progress import Progress
from stockpot.store.artefacts import is_complete, read_manifest
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST, WEIGHTS
from stockpot.store.sources import tree_digest
from stockpot.store.weights import inspect_weights


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "store"


def merged(spec: MergeRun, root: Path, progress: Progress | None = None) -> MergeResult:
    work = root.parent / "work"
    return run(spec, work=work, progress=progress or Progress(), stop=threading.Event())


def some_parts(root: Path, count: int = 3) -> list[RecipePart]:
    work = root.parent / "work"
    parts = [
        an_ingredient(root, f"shard-{i}", file_bytes(some_tensors(i)), work) for i in range(count)
    ]
    return [part.model_copy(update={"weight": i + 1}) for i, part in enumerate(parts)]


def refusal(spec: MergeRun, root: Path) -> StockpotError:
    """Return the merge's refusal, after which only the lineage of the revision may be left."""
    with pytest.raises(StockpotError) as caught:
        merged(spec, root)
    require_nothing_but_lineage(root, spec)
    assert list((root.parent / "work").glob("merge*")) == []
    return caught.value


def require_nothing_but_lineage(root: Path, spec: MergeRun) -> None:
    store, folder = FolderStore(root), KEYS.revision(spec.soup.uid, spec.recipe_digest)
    left = [info.key for info in store.list_versions(KEYS.soup(spec.soup.uid))]
    assert left in ([], [folder + MANIFEST])
    manifest = read_manifest(store, folder)
    assert manifest is None or not is_complete(manifest)


def test_the_soup_is_the_weighted_mean_in_canonical_form(root: Path) -> None:
    spec = a_merge(root, some_parts(root))

    result = merged(spec, root)

    data = soup_bytes(root, spec)
    assert result.weights_digest == digest_of_bytes(data)
    assert result.size_bytes == len(data)
    assert (result.recipe_digest, result.base_digest) == (spec.recipe_digest, BASE)
    path = root / KEYS.revision(spec.soup.uid, spec.recipe_digest) / WEIGHTS
    weights = inspect_weights(path)
    assert [span.key for span in weights.header.spans] == ["conv.bias", "conv.weight", "scale"]
    inputs = [some_tensors(i) for i in range(3)]
    for span in weights.header.spans:
        got = np.frombuffer(data, "<f2", span.elements, span.offset)
        columns = [np.frombuffer(tensors[span.key][2], "<f2") for tensors in inputs]
        for element, of_each in zip(got, zip(*columns, strict=True), strict=True):
            exact = sum((Fraction(float(x)) * (i + 1) for i, x in enumerate(of_each)), Fraction(0))
            half_ulp = Fraction(float(np.spacing(np.abs(element)))) / 2
            assert abs(exact / 6 - Fraction(float(element))) <= half_ulp


def test_the_manifest_records_the_lineage_of_the_soup(root: Path) -> None:
    spec = a_merge(root, some_parts(root))

    merged(spec, root)

    manifest = read_manifest(FolderStore(root), KEYS.revision(spec.soup.uid, spec.recipe_digest))
    assert manifest is not None
    assert is_complete(manifest)
    assert manifest.lineage == tuple(
        LineagePair(shard=f"shard-{i}", training_key=key_of(f"shard-{i}")) for i in range(3)
    )
    assert manifest.recipe_digest == spec.recipe_digest
    assert manifest.tensors is not None
    assert manifest.tensors.parameters == 3 * 5 * 2 + 7 + 1


def test_any_order_of_the_parts_gives_the_same_bytes(root: Path) -> None:
    parts = some_parts(root, count=5)
    first = a_merge(root, parts)
    merged(first, root)
    bytes_before = soup_bytes(root, first)
    for info in [*FolderStore(root).list(KEYS.soup("soup-1"))]:
        FolderStore(root).delete(info.key)

    second = a_merge(root, random.Random(3).sample(parts, 5))
    merged(second, root)

    assert second.recipe_digest == first.recipe_digest
    assert soup_bytes(root, second) == bytes_before


def test_one_shard_alone_is_that_shard_byte_for_byte(root: Path) -> None:
    tensors = some_tensors(4) | {"zeros": ("F16", (2,), b"\x00\x80\x00\x00")}
    data = file_bytes(tensors)
    part = an_ingredient(root, "cats", data, root.parent / "work")

    spec = a_merge(root, [part])
    merged(spec, root)

    assert soup_bytes(root, spec) == data


def test_a_recipe_without_shards_gives_the_base_rounded_once(root: Path) -> None:
    tensors = some_tensors(1, "F32")
    folder = a_base_folder(root.parent / "base", file_bytes(tensors))
    location = Location(place=Place.FOLDER, path=str(folder))

    spec = a_merge(root, [], base=BaseRef(location=location))
    result = merged(spec, root)

    assert result.base_digest == tree_digest(folder)
    rounded = {
        key: ("F16", shape, np.frombuffer(data, "<f4").astype("<f2").tobytes())
        for key, (_, shape, data) in tensors.items()
    }
    assert soup_bytes(root, spec) == file_bytes(rounded)


def test_a_finished_soup_is_reused(root: Path) -> None:
    spec = a_merge(root, some_parts(root))
    first = merged(spec, root)
    before = everything(root)

    second = merged(spec, root)

    assert second.reused
    assert second.weights_digest == first.weights_digest
    assert everything(root) == before


def test_a_soup_that_was_cut_short_is_made_again(root: Path) -> None:
    spec = a_merge(root, some_parts(root))
    merged(spec, root)
    whole = soup_bytes(root, spec)
    path = root / KEYS.revision(spec.soup.uid, spec.recipe_digest) / WEIGHTS
    path.write_bytes(whole[:-2])

    again = merged(spec, root)

    assert not again.reused
    assert soup_bytes(root, spec) == whole


def test_progress_counts_the_bytes_that_were_read(root: Path) -> None:
    snapshots = []

    class Watched(Progress):
        def advance(self, step: int, **figures: float) -> None:
            super().advance(step, **figures)
            snapshots.append(self.snapshot())

    spec = a_merge(root, some_parts(root))
    merged(spec, root, Watched())

    assert snapshots[-1].phase == "merging"
    assert snapshots[-1].step == snapshots[-1].total_steps
    assert snapshots[-1].total_steps == 3 * len(soup_bytes(root, spec))


def test_an_edited_ingredient_is_refused_by_name(root: Path) -> None:
    parts = some_parts(root)
    path = root / KEYS.ingredient("shard-1", key_of("shard-1")) / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    error = refusal(a_merge(root, parts), root)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert f"shards/shard-1/{key_of('shard-1')[7:]}/{WEIGHTS} is refused" in error.message
    assert "it was edited: its digest is sha256:" in error.message
    assert "have the shard trained again" in error.help


def test_an_ingredient_that_was_cut_short_is_refused_by_name(root: Path) -> None:
    parts = some_parts(root)
    path = root / KEYS.ingredient("shard-2", key_of("shard-2")) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])

    error = refusal(a_merge(root, parts), root)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert "shard-2" in error.message
    assert "it was cut short or edited: it has" in error.message


def test_a_missing_ingredient_is_refused_by_name(root: Path) -> None:
    parts = some_parts(root)
    absent = parts[0].model_copy(update={"shard_uid": "nobody"})

    error = refusal(a_merge(root, [*parts, absent]), root)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert "ml/shards/nobody/" in error.message
    assert "it holds no ingredient" in error.message


def test_weights_with_another_digest_than_the_recipe_names_are_refused(root: Path) -> None:
    parts = some_parts(root)
    other = parts[1].model_copy(update={"weights_digest": digest_of_bytes(b"other")})

    error = refusal(a_merge(root, [parts[0], other]), root)

    assert "shard-1" in error.message
    assert "and the recipe names sha256:" in error.message


def test_an_ingredient_of_another_base_is_refused(root: Path) -> None:
    work = root.parent / "work"
    other = digest_of_bytes(b"another base")
    part = an_ingredient(root, "cats", file_bytes(some_tensors(1)), work, base=other)

    error = refusal(a_merge(root, [part]), root)

    assert error.message.endswith(f"trained from the base {other}, and the soup's is {BASE}")


def test_ingredients_that_do_not_fit_are_refused_with_their_first_differences(root: Path) -> None:
    work = root.parent / "work"
    shapes = {f"layer.{i}": (2, i + 1) for i in range(8)}
    others = {f"layer.{i}": (i + 1, 2) for i in range(7)} | {"extra": (1,)}
    parts = [
        an_ingredient(root, "cats", file_bytes(some_tensors(1, shapes=shapes)), work),
        an_ingredient(root, "dogs", file_bytes(some_tensors(2, shapes=others)), work),
    ]

    error = refusal(a_merge(root, parts), root)

    assert error.exit_code == ExitCode.BAD_WEIGHTS
    assert "it does not fit" in error.message
    assert "[1, 2]" in error.message
    assert error.message.count(";") == 5
    assert error.message.endswith("and 3 more")


def test_two_types_of_numbers_are_not_mixed(root: Path) -> None:
    work = root.parent / "work"
    parts = [
        an_ingredient(root, "cats", file_bytes(some_tensors(1, "F16")), work),
        an_ingredient(root, "dogs", file_bytes(some_tensors(2, "BF16")), work),
    ]

    error = refusal(a_merge(root, parts), root)

    assert "BF16 [7]" in error.message
    assert "F16 [7]" in error.message


def test_a_nan_is_refused_with_its_place(root: Path) -> None:
    tensors = some_tensors(1)
    dtype, shape, data = tensors["conv.weight"]
    values = np.frombuffer(data, "<f2").copy()
    values[13] = np.nan
    tensors["conv.weight"] = (dtype, shape, values.tobytes())
    part = an_ingredient(root, "cats", file_bytes(tensors), root.parent / "work")

    error = refusal(a_merge(root, [part, *some_parts(root)]), root)

    assert "shards/cats/" in error.message
    assert "tensor conv.weight has a NaN or an infinity at [1, 1, 1]" in error.message


def test_a_mean_too_large_for_the_output_is_refused_with_its_tensor(root: Path) -> None:
    tensors = some_tensors(1, "F32")
    tensors["conv.bias"] = ("F32", (7,), np.full(7, 70000, "<f4").tobytes())
    part = an_ingredient(root, "cats", file_bytes(tensors), root.parent / "work")

    error = refusal(a_merge(root, [part]), root)

    assert error.message == "the mean of tensor conv.bias at [0] is too large for F16"
    assert "spec.merge.output" in error.help
    assert merged(a_merge(root, [part], WeightsDtype.BF16), root).weights_digest


def test_a_recipe_with_a_forgotten_shard_is_refused(root: Path) -> None:
    parts = some_parts(root)
    FolderStore(root).put(KEYS.tombstone("shard-1"), b"{}")

    error = refusal(a_merge(root, parts), root)

    assert error.exit_code == ExitCode.FORGOTTEN
    assert "shard-1" in error.message


def test_a_soup_whose_shard_is_forgotten_during_the_merge_is_not_published(root: Path) -> None:
    parts = some_parts(root)

    class Forgetting(Progress):
        def begin(self, phase: str, total_steps: int = 0, first_step: int = 0) -> None:
            if phase == "publishing":
                FolderStore(root).put(KEYS.tombstone("shard-2"), b"{}")

    spec = a_merge(root, parts)
    with pytest.raises(StockpotError) as caught:
        merged(spec, root, Forgetting())

    assert caught.value.exit_code == ExitCode.FORGOTTEN
    require_nothing_but_lineage(root, spec)


def test_a_recipe_with_another_recipes_digest_is_refused(root: Path) -> None:
    spec = a_merge(root, some_parts(root))
    lighter = tuple(part.model_copy(update={"weight": 1}) for part in spec.parts)

    error = refusal(spec.model_copy(update={"parts": lighter}), root)

    assert error.exit_code == ExitCode.BAD_RUN_SPEC
    assert spec.recipe_digest in error.message


def test_a_stopped_merge_publishes_nothing(root: Path) -> None:
    spec = a_merge(root, some_parts(root))
    stop = threading.Event()
    stop.set()

    with pytest.raises(StockpotError) as caught:
        run(spec, work=root.parent / "work", progress=Progress(), stop=stop)

    assert caught.value.exit_code == ExitCode.INTERRUPTED
    require_nothing_but_lineage(root, spec)


def test_blocks_threads_and_the_kernel_change_no_byte(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_merge(root, some_parts(root))
    merged(spec, root)
    whole = soup_bytes(root, spec)
    (root / KEYS.revision("soup-1", spec.recipe_digest) / MANIFEST).unlink()

    for block_bytes, threads in ((4, 1), (8, 2), (20, 3), (1 << 16, 7)):
        settings = MergeSettings(threads, None, block_bytes)
        monkeypatch.setattr(
            "stockpot.merging.run.MergeSettings", lambda *_, chosen=settings: chosen
        )
        merged(spec, root)
        assert soup_bytes(root, spec) == whole
        (root / KEYS.revision("soup-1", spec.recipe_digest) / MANIFEST).unlink()


def test_a_killed_merge_leaves_nothing_finished_and_a_rerun_completes(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    root = tmp_path / "store"
    spec = a_merge(root, some_parts(root))
    store, folder = FolderStore(root), KEYS.revision("soup-1", spec.recipe_digest)
    with KilledRun("stockpot.merging.run", spec, tmp_path) as killed_run:
        moments = killed_run.run_to_end()
        whole = everything(root / folder)

        for at in sorted({*random.Random(11).sample(range(1, moments), 12), moments}):
            for info in [*store.list_versions(folder)]:
                store.purge(info)
            killed_run.run_and_kill(at)

            manifest = read_manifest(store, folder)
            left = everything(root / folder)
            if manifest is None:
                assert not [*store.list(folder)]  # no object without a lineage
            elif is_complete(manifest):
                assert left[WEIGHTS] == whole[WEIGHTS]
            merged(spec, root)
            again = everything(root / folder)
            # A killed writer's temporary file is listed among the versions only.
            assert again.keys() >= whole.keys()
            assert again[WEIGHTS] == whole[WEIGHTS]
            assert {info.key for info in store.list(folder)} == {folder + name for name in whole}
