"""Commitments to records: a receipt names no record, and an opening shows which one it covers."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import DOGS, KEYS, a_filled_store, a_purge

from stockpot.errors import Refused
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge
from stockpot.unlearning.commitments import (
    OPENINGS,
    Opening,
    commit,
    commitment_of,
    keep_commitments,
    openings,
    opens,
)

RECORDS = ("rex.png", "bello.png")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return a_filled_store(tmp_path / "store", tmp_path / "laid")


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
    # Receipts are kept for ever: an opening from today must still open them in ten years.
    opening = Opening(record="rex.png", salt="00" * 32)

    assert commitment_of(opening) == (
        "sha256:593e3ac55adae330e42a9c1a9b26e4bce5f7b38b900ec4e4d5d8cf8556a17573"
    )


def test_repeating_it_finds_the_same_salts_and_new_records_get_new_ones(
    store: FolderStore,
) -> None:
    first = keep_commitments(store, KEYS, DOGS.uid, ("rex.png",))

    both = keep_commitments(store, KEYS, DOGS.uid, RECORDS)

    assert set(first) < set(both)
    assert keep_commitments(store, KEYS, DOGS.uid, tuple(reversed(RECORDS))) == both
    assert {commitment_of(opening) for opening in openings(store, KEYS, DOGS.uid)} == set(both)


def test_salts_lie_under_the_shards_lineage_and_go_with_its_purge(
    store: FolderStore, tmp_path: Path
) -> None:
    keep_commitments(store, KEYS, DOGS.uid, RECORDS)
    copy = openings(store, KEYS, DOGS.uid)

    result = purge.run(
        a_purge(tmp_path / "store"), work=tmp_path, progress=Progress(), stop=threading.Event()
    )

    assert len(copy) == 2
    assert result.residual_count == 0
    assert openings(store, KEYS, DOGS.uid) == ()
    assert not list(store.list_versions(KEYS.commitments(DOGS.uid)))


@pytest.mark.parametrize("stored", [b"{", b'{"openings": [], "version": 2}', b'{"salts": []}'])
def test_an_invalid_list_of_openings_is_refused(store: FolderStore, stored: bytes) -> None:
    store.put(KEYS.commitments(DOGS.uid) + OPENINGS, stored)

    with pytest.raises(Refused, match="openings"):
        keep_commitments(store, KEYS, DOGS.uid, RECORDS)
