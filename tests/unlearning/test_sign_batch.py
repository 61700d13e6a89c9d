"""One sign run with several requests, and several runs at once."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import (
    DOGS,
    a_request,
    a_signing,
)
from tests.unlearning.sign_runs import a_batch, chain_of, purged, shards_named, signed

from stockpot.api.results import ResultMessage, read_result
from stockpot.api.run_kinds import RunKind
from stockpot.api.runspec import SignRun
from stockpot.api.server_reports import EndedReport, Ending
from stockpot.errors import StockpotError, Waiting
from stockpot.store.folder import FolderStore
from stockpot.workload.result import fitting


def test_concurrent_runs_get_a_place_each(root: Path, store: FolderStore, key: Path) -> None:
    shards = [DOGS.model_copy(update={"uid": f"uid-{n}", "name": f"n{n}"}) for n in range(6)]
    purged(root, *shards)
    ready = threading.Barrier(len(shards))
    errors = []

    def sign(spec: SignRun) -> None:
        ready.wait()
        try:
            signed(spec)
        except StockpotError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=sign, args=[a_signing(root, key, shard)]) for shard in shards
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    chain = chain_of(store, key)
    assert {receipt.statement.predicate.shard.uid for receipt in chain} == {
        shard.uid for shard in shards
    }


def test_one_run_signs_several_one_after_the_other(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = shards_named(*(f"n{number}" for number in range(16)))
    purged(root, *shards)

    result = signed(a_batch(root, key, *shards))

    chain = chain_of(store, key)
    assert [receipt.statement.predicate.shard for receipt in chain] == shards
    assert [receipt.digest for receipt in result.receipts] == [entry.digest for entry in chain]
    assert [receipt.previous for receipt in result.receipts] == [None] * 16
    assert [entry.statement.predicate.previous for entry in chain[1:]] == [
        entry.digest for entry in chain[:-1]
    ]


def test_a_repeated_run_finds_written_receipts_and_continues(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = shards_named("ants", "bees", "cows", "dogs")
    purged(root, *shards)
    signed(a_batch(root, key, *shards[1:3]))

    result = signed(a_batch(root, key, *shards))

    assert [receipt.sequence for receipt in result.receipts] == [3, 1, 2, 4]
    assert len(chain_of(store, key)) == 4
    assert not result.reused
    assert signed(a_batch(root, key, *shards)).reused
    # Every previous entry is part of the result, so none is named separately.
    named = {receipt.sequence: receipt.previous for receipt in result.receipts}
    assert named == {1: None, 2: None, 3: None, 4: None}


def test_the_previous_entry_is_named_where_the_result_lacks_it(
    root: Path, store: FolderStore, key: Path
) -> None:
    ants, bees = shards_named("ants", "bees")
    purged(root, ants, bees)
    signed(a_batch(root, key, ants))

    [named] = signed(a_batch(root, key, bees)).receipts

    assert (named.sequence, named.previous) == (2, chain_of(store, key)[0].digest)


def test_a_refused_receipt_delays_no_other(root: Path, store: FolderStore, key: Path) -> None:
    ants, bees, cows = shards_named("ants", "bees", "cows")
    purged(root, ants, cows)

    result = signed(a_batch(root, key, ants, bees, cows))

    assert [receipt.shard for receipt in result.receipts] == [ants.uid, cows.uid]
    with pytest.raises(Waiting, match=bees.uid):
        signed(a_batch(root, key, bees))


def test_a_request_for_an_existing_receipt_writes_none(
    root: Path, store: FolderStore, key: Path
) -> None:
    ants, bees, cows = shards_named("ants", "bees", "cows")
    purged(root, ants, bees, cows)
    signed(a_batch(root, key, ants))
    spec = a_batch(root, key, cows)
    looked_for = (a_request(shard, is_only_looked_for=True) for shard in (ants, bees))
    spec = spec.model_copy(update={"receipts": (*looked_for, *spec.receipts)})

    result = signed(spec)

    assert [receipt.shard for receipt in result.receipts] == [ants.uid, cows.uid]
    assert [entry.statement.predicate.shard for entry in chain_of(store, key)] == [ants, cows]


def test_each_receipt_names_the_servers_that_ended_since_its_request(
    root: Path, store: FolderStore, key: Path
) -> None:
    early, late = shards_named("early", "late")
    purged(root, early, late)
    ended = EndedReport(
        server="pets-0", uid="u", how=Ending.KUBELET, seen_at="2026-11-22T12:30:00Z"
    )
    spec = a_batch(root, key, early, late)
    requests = (spec.receipts[0], a_request(late, requested_at="2026-11-22T12:31:00Z"))

    signed(spec.model_copy(update={"receipts": requests, "ended": (ended,)}))

    first, second = (entry.statement.predicate for entry in chain_of(store, key))
    assert first.ended == (ended,)
    assert second.ended == ()


def test_the_longest_result_fits_into_a_termination_message(
    root: Path, store: FolderStore, key: Path
) -> None:
    shards = [
        DOGS.model_copy(update={"uid": f"{number:036}.{number:016}", "name": f"n{number}"})
        for number in range(16)
    ]
    purged(root, *shards)
    missing = tuple(f"UnreachableNode: {'é' * 200} {number}" for number in range(16))
    requests = tuple(a_request(shard, missing=missing) for shard in shards)
    spec = a_signing(root, key).model_copy(update={"receipts": requests, "successor": None})

    result = signed(spec)

    data = fitting(result.message())
    assert len(data) <= 4096
    assert read_result(RunKind.SIGN, ResultMessage.model_validate_json(data)) == result
    assert len(result.receipts) == 16
    assert {receipt.missing for receipt in result.receipts} == {16}
    assert chain_of(store, key)[15].statement.predicate.missing == missing
    alone = signed(spec.model_copy(update={"receipts": requests[:1]}))
    assert len(alone.missing) == 5, "the receipt has them all"
    assert alone.receipts[0].missing_named == (0, 1, 2, 3, 4)
