"""A receipt that names no record, and whoever kept a salt can say which it means."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.cellar import DOGS, KEYS, a_cellar, a_purge

from stockpot.errors import Refused
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge
from stockpot.unlearning.commitments import (
    OPENINGS,
    Opening,
    commit,
    commitment_of,
    keep,
    openings,
    opens,
)

RECORDS = ("rex.png", "bello.png")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return a_cellar(tmp_path / "store", tmp_path / "laid")


def test_the_same_record_has_another_commitment_each_time() -> None:
    first, salts = commit(RECORDS)
    again, _ = commit(RECORDS)

    assert len({*first, *again}) == 4
    assert first[0] == commitment_of(Opening(record="rex.png", salt=salts[0]))


def test_only_name_and_salt_together_open_it() -> None:
    (rex, _), (salt, other) = commit(RECORDS)

    assert opens(rex, Opening(record="rex.png", salt=salt))
    assert not opens(rex, Opening(record="rex.png", salt=other))
    assert not opens(rex, Opening(record="bello.png", salt=salt))


def test_what_a_commitment_covers_never_changes() -> None:
    # Receipts are kept for ever: a copy that was handed out today is to open them in ten years.
    opening = Opening(record="rex.png", salt="00" * 32)

    assert commitment_of(opening) == (
        "sha256:593e3ac55adae330e42a9c1a9b26e4bce5f7b38b900ec4e4d5d8cf8556a17573"
    )


def test_asked_again_the_same_salts_are_found_and_new_records_get_new_ones(
    store: FolderStore,
) -> None:
    first = keep(store, KEYS, DOGS.uid, ("rex.png",))

    both = keep(store, KEYS, DOGS.uid, RECORDS)

    assert set(first) < set(both)
    assert keep(store, KEYS, DOGS.uid, tuple(reversed(RECORDS))) == both
    assert {commitment_of(opening) for opening in openings(store, KEYS, DOGS.uid)} == set(both)


def test_salts_lie_under_the_shards_lineage_and_go_with_its_purge(
    store: FolderStore, tmp_path: Path
) -> None:
    keep(store, KEYS, DOGS.uid, RECORDS)
    copy = openings(store, KEYS, DOGS.uid)

    result = purge.run(
        a_purge(tmp_path / "store"), work=tmp_path, progress=Progress(), stop=threading.Event()
    )

    assert len(copy) == 2
    assert result.residual_count == 0
    assert openings(store, KEYS, DOGS.uid) == ()
    assert not list(store.list_versions(KEYS.commitments(DOGS.uid)))


@pytest.mark.parametrize("said", [b"{", b'{"openings": [], "version": 2}', b'{"salts": []}'])
def test_what_is_no_list_of_openings_is_refused(store: FolderStore, said: bytes) -> None:
    store.put(KEYS.commitments(DOGS.uid) + OPENINGS, said)

    with pytest.raises(Refused, match="openings"):
        keep(store, KEYS, DOGS.uid, RECORDS)
