"""Artefacts begin and end with a manifest; what is unfinished, edited or cut short is seen.

Invariant 18.
"""

from pathlib import Path

import pytest

from stockpot.api.manifest import ArtefactKind, LineagePair, Manifest
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.artefacts import (
    begin,
    covering_manifests,
    fetch_weights,
    find_complete,
    is_complete,
    publish,
    read_manifest,
)
from stockpot.store.folder import FolderStore
from stockpot.store.keys import MANIFEST, WEIGHTS, Keys
from stockpot.store.tombstones import refuse_forgotten

KEYS = Keys("ml")
FOLDER = KEYS.ingredient("cats", "sha256:" + "a" * 64)
BYTES = b"0123456789" * 1000
DIGEST = digest_of_bytes(BYTES)
BEGUN = Manifest(
    kind=ArtefactKind.INGREDIENT, lineage=(LineagePair(shard="cats"),), made_by="stockpot 0"
)
FINISHED = BEGUN.model_copy(update={"digest": DIGEST, "size_bytes": len(BYTES)})
PUBLISHED = FINISHED.model_copy(update={"files": (WEIGHTS,)})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(tmp_path / "store")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A local file with the bytes of an ingredient."""
    path = tmp_path / "made.safetensors"
    path.write_bytes(BYTES)
    return path


def test_a_lineage_stands_before_the_first_byte_of_an_artefact(store: FolderStore) -> None:
    begin(store, FOLDER, FINISHED)

    found = read_manifest(store, FOLDER)

    assert found == BEGUN
    assert not is_complete(found)
    assert find_complete(store, FOLDER) is None


def test_a_published_artefact_is_found_complete(store: FolderStore, weights: Path) -> None:
    begin(store, FOLDER, BEGUN)
    publish(store, FOLDER, {WEIGHTS: weights}, FINISHED)

    assert find_complete(store, FOLDER) == PUBLISHED
    assert is_complete(PUBLISHED)
    assert [info.key for info in store.list("")] == [FOLDER + WEIGHTS, FOLDER + MANIFEST]


def test_an_artefact_that_is_begun_again_is_not_complete(store: FolderStore, weights: Path) -> None:
    publish(store, FOLDER, {WEIGHTS: weights}, FINISHED)

    begin(store, FOLDER, BEGUN)

    assert find_complete(store, FOLDER) is None


def test_a_publication_that_is_cut_off_is_not_complete(
    store: FolderStore, weights: Path, tmp_path: Path
) -> None:
    begin(store, FOLDER, BEGUN)

    with pytest.raises(FileNotFoundError):
        publish(store, FOLDER, {WEIGHTS: weights, "z.json": tmp_path / "gone"}, FINISHED)

    assert store.get(FOLDER + WEIGHTS) == BYTES
    assert find_complete(store, FOLDER) is None
    assert [manifest for _, manifest in covering_manifests(store, FOLDER)] == [BEGUN, BEGUN]


def test_weights_that_were_deleted_or_cut_short_by_hand_are_not_relied_on(
    store: FolderStore, weights: Path
) -> None:
    publish(store, FOLDER, {WEIGHTS: weights}, FINISHED)

    store.put(FOLDER + WEIGHTS, BYTES[:-1])
    assert find_complete(store, FOLDER) is None
    store.delete(FOLDER + WEIGHTS)
    assert find_complete(store, FOLDER) is None


def test_an_evaluation_is_complete_with_its_figures(store: FolderStore, weights: Path) -> None:
    folder = KEYS.evaluation("soup", "sha256:" + "b" * 64)
    manifest = BEGUN.model_copy(update={"kind": ArtefactKind.EVALUATION})

    with pytest.raises(ValueError, match="without what Evaluation promises"):
        publish(store, folder, {"samples.png": weights}, manifest)
    publish(store, folder, {"evaluation.json": weights, "samples.png": weights}, manifest)

    found = find_complete(store, folder)
    assert found is not None
    assert found.files == ("evaluation.json", "samples.png")


def test_a_training_under_way_is_never_complete(store: FolderStore, weights: Path) -> None:
    folder = KEYS.training_run("cats", "sha256:" + "c" * 64)
    manifest = BEGUN.model_copy(update={"kind": ArtefactKind.TRAINING})

    publish(store, folder, {"checkpoint-50/model.safetensors": weights}, manifest)

    assert find_complete(store, folder) is None
    assert store.get(folder + "checkpoint-50/model.safetensors") == BYTES


def test_weights_without_a_digest_are_not_published(store: FolderStore, weights: Path) -> None:
    with pytest.raises(ValueError, match="without what Ingredient promises"):
        publish(store, FOLDER, {WEIGHTS: weights}, BEGUN)

    assert list(store.list("")) == []


def test_weights_of_another_size_than_was_inspected_are_not_published(
    store: FolderStore, weights: Path
) -> None:
    weights.write_bytes(BYTES + b"more")

    with pytest.raises(Refused, match="it has 10004 bytes, its manifest says 10000") as refusal:
        publish(store, FOLDER, {WEIGHTS: weights}, FINISHED)

    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS
    assert list(store.list("")) == []


def test_a_folder_of_another_lineage_is_not_begun(store: FolderStore) -> None:
    begin(store, FOLDER, BEGUN.model_copy(update={"lineage": (LineagePair(shard="dogs"),)}))

    with pytest.raises(Refused, match="holds what was made from other shards: dogs") as refusal:
        begin(store, FOLDER, BEGUN)

    assert "delete that folder" in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no manifest"),
        (b"[]", "it is no manifest"),
        (b'{"kind": "Soup"}', "it is no manifest: kind"),
        (b'{"kind": "Revision", "weights": 1}', "it is no manifest: weights"),
        (b'{"kind": "Revision", "version": 2}', "it is of version 2; this program reads 1"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    store: FolderStore, content: bytes, why: str
) -> None:
    store.put(FOLDER + MANIFEST, content)

    with pytest.raises(Refused) as refusal:
        read_manifest(store, FOLDER)

    assert f"{FOLDER}{MANIFEST} is refused: {why}" in refusal.value.message
    assert "delete its folder in the store" in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


def test_fetched_weights_are_the_ones_that_were_named(
    store: FolderStore, weights: Path, tmp_path: Path
) -> None:
    publish(store, FOLDER, {WEIGHTS: weights}, FINISHED)

    path = fetch_weights(store, FOLDER, tmp_path / "here", DIGEST)

    assert path == tmp_path / "here" / WEIGHTS
    assert path.read_bytes() == BYTES


@pytest.mark.parametrize(
    "there", [BYTES[:-1], BYTES + b"\0", BYTES.replace(b"5", b"6", 1), b""], ids=len
)
def test_edited_or_cut_weights_are_refused_and_do_not_appear(
    store: FolderStore, tmp_path: Path, there: bytes
) -> None:
    store.put(FOLDER + WEIGHTS, there)

    with pytest.raises(Refused) as refusal:
        fetch_weights(store, FOLDER, tmp_path / "here", DIGEST)

    assert f"{FOLDER}{WEIGHTS} is refused: it was edited or cut short" in refusal.value.message
    assert f"{digest_of_bytes(there)} of {len(there)} bytes, and {DIGEST}" in refusal.value.message
    assert "to have it made again" in refusal.value.help
    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS
    assert list((tmp_path / "here").iterdir()) == []


def test_weights_that_are_not_there_are_named(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"{FOLDER}{WEIGHTS} does not exist") as refusal:
        fetch_weights(store, FOLDER, tmp_path, DIGEST)

    assert refusal.value.exit_code == ExitCode.BAD_WEIGHTS


def test_everything_is_covered_by_the_manifest_of_the_nearest_folder(store: FolderStore) -> None:
    revision = KEYS.revision("soup", "sha256:" + "b" * 64)
    evaluation = KEYS.evaluation("soup", "sha256:" + "b" * 64)
    soup = BEGUN.model_copy(update={"kind": ArtefactKind.REVISION})
    figures = BEGUN.model_copy(update={"kind": ArtefactKind.EVALUATION})
    begin(store, revision, soup)
    begin(store, evaluation, figures)
    for key in (revision + WEIGHTS, evaluation + "a/b.png", KEYS.soup("soup") + "stray"):
        store.put(key, b"")

    found = {info.key: manifest for info, manifest in covering_manifests(store, "ml/")}

    assert found == {
        revision + MANIFEST: soup,
        revision + WEIGHTS: soup,
        evaluation + MANIFEST: figures,
        evaluation + "a/b.png": figures,
        KEYS.soup("soup") + "stray": None,
    }


@pytest.mark.parametrize("above", ["", "ml/", "ml/shards/"])
def test_a_manifest_above_all_artefacts_vouches_for_nothing(store: FolderStore, above: str) -> None:
    begin(store, above, BEGUN)
    store.put("ml/shards/stray/weights", b"whose?")

    found = {info.key: manifest for info, manifest in covering_manifests(store, "ml/")}

    assert set(found.values()) == {None}


def test_a_manifest_that_cannot_be_read_covers_nothing(store: FolderStore) -> None:
    revision = KEYS.revision("soup", "sha256:" + "b" * 64)
    evaluation = KEYS.evaluation("soup", "sha256:" + "b" * 64)
    begin(store, revision, BEGUN)
    store.put(evaluation + MANIFEST, b"{")

    found = {info.key: manifest for info, manifest in covering_manifests(store, evaluation)}

    assert found == {evaluation + MANIFEST: None}


def test_a_forgotten_shard_is_refused_by_name(store: FolderStore) -> None:
    refuse_forgotten(store, KEYS, ["dogs", "cats"])
    store.put(KEYS.tombstone("cats"), b"")
    refuse_forgotten(store, Keys("elsewhere"), ["dogs", "cats"])
    refuse_forgotten(store, KEYS, ["dogs", "cat"])

    with pytest.raises(Refused, match="shard cats was forgotten") as refusal:
        refuse_forgotten(store, KEYS, ["dogs", "cats"])

    assert refusal.value.exit_code == ExitCode.FORGOTTEN
    assert KEYS.tombstone("cats") in refusal.value.message
    assert "spec.relearn" in refusal.value.help
