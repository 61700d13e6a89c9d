"""Targets of a soup: the output appears when all is written, and not before."""

from pathlib import Path

import pytest

from stockpot.api.manifest import ArtefactKind, Manifest
from stockpot.core.digests import digest_of_bytes
from stockpot.errors import Refused
from stockpot.merging.targets import store_target
from stockpot.store.artefacts import begin, find_complete, finish, sweep
from stockpot.store.folder import FolderStore
from stockpot.store.keys import WEIGHTS

KEY, DATA = "ml/soups/uid-1/revisions/x/soup.safetensors", bytes(range(200))


def test_a_folder_gets_the_object_without_a_file_elsewhere(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")

    with store_target(store, KEY, len(DATA)) as target:
        target.write(100, memoryview(DATA)[100:])
        target.write(0, memoryview(DATA)[:100])
        seen_before = store.get(KEY)
        unfinished = [info.is_unfinished for info in store.list_versions("ml/")]

    assert seen_before is None
    assert unfinished == [True]
    assert store.get(KEY) == DATA
    assert [info.is_unfinished for info in store.list_versions("")] == [False]


def test_a_failure_after_the_last_byte_leaves_no_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")

    def fail() -> None:
        with store_target(store, KEY, len(DATA)) as target:
            target.write(0, memoryview(DATA))
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    assert list(store.list_versions("")) == []


def test_only_leftovers_of_killed_writes_are_swept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put(KEY, DATA)
    left = store.file_of(KEY).with_name(f".soup.safetensors.{'0' * 16}.unfinished")
    left.write_bytes(DATA[:10])

    sweep(store, KEY.rpartition("/")[0] + "/")

    assert [info.key for info in store.list_versions("")] == [KEY]
    assert store.get(KEY) == DATA


@pytest.mark.parametrize(("lies", "why"), [(None, "it is not there"), (7, "it has 7 bytes")])
def test_a_manifest_is_not_finished_without_its_weights(
    tmp_path: Path, lies: int | None, why: str
) -> None:
    store = FolderStore(tmp_path / "store")
    folder_key = KEY.rpartition("/")[0] + "/"
    manifest = Manifest(
        kind=ArtefactKind.REVISION, lineage=(), digest=digest_of_bytes(DATA), size_bytes=len(DATA)
    )
    begin(store, folder_key, manifest)
    if lies is not None:
        store.put(folder_key + WEIGHTS, DATA[:lies])

    with pytest.raises(Refused, match=why):
        finish(store, folder_key, manifest)

    assert find_complete(store, folder_key) is None
