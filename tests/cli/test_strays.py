"""`stockpot strays` lists what no manifest covers, and removes that alone."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unlearning.receipt_fixtures import a_filled_store

from stockpot.cli.strays import strays
from stockpot.errors import Refused
from stockpot.store.folder import FolderStore

PLANTED = ("ml/shards/uid-bees/stray", "ml/soups/soup-1/router.bin")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> FolderStore:
    store = a_filled_store(root, tmp_path)
    for key in (*PLANTED, "ml/notes.txt"):
        store.put(key, b"who knows")
    return store


def called(root: Path, *arguments: str) -> str:
    command = [*arguments, "-n", "ml", "--store", str(root)]
    answer = CliRunner().invoke(strays, command, catch_exceptions=False, standalone_mode=False)
    return answer.output


def test_strays_are_listed_and_nothing_is_removed(root: Path, store: FolderStore) -> None:
    before = list(store.list(""))

    output = called(root)

    assert output.splitlines() == [f"{key} (9 bytes)" for key in PLANTED]
    assert list(store.list("")) == before


def test_strays_are_removed_and_what_has_a_manifest_stays(root: Path, store: FolderStore) -> None:
    before = {info.key for info in store.list("")}

    first = called(root, PLANTED[0], "--remove")
    rest = called(root, "--remove")

    assert first == f"removed {PLANTED[0]} (9 bytes)\n"
    assert rest == f"removed {PLANTED[1]} (9 bytes)\n"
    assert before - {info.key for info in store.list("")} == set(PLANTED)
    assert called(root) == "Every object in ml/ has a manifest.\n"


def test_a_key_that_has_a_manifest_is_refused(root: Path, store: FolderStore) -> None:
    artefact = next(info.key for info in store.list("ml/shards/uid-cats/"))

    with pytest.raises(Refused, match="is no object without a manifest in ml/"):
        called(root, artefact, "--remove")

    assert store.head(artefact) is not None
