"""Runs of the verb `sign` on the store of `receipt_fixtures`, and the chain that they write."""

import threading
from pathlib import Path

import pytest
from tests.unlearning.receipt_fixtures import (
    CATS,
    DOGS,
    KEYS,
    a_purge,
    a_request,
    a_signing,
)

from stockpot.api.results import SignResult
from stockpot.api.runspec import (
    ObjectRef,
    SignRun,
)
from stockpot.errors import ExitCode, Refused
from stockpot.metrics.progress import Progress
from stockpot.store.folder import FolderStore
from stockpot.unlearning import purge
from stockpot.unlearning.chain import Receipt, check_chain
from stockpot.unlearning.keys import load_public_key
from stockpot.unlearning.sign import run

BEES = CATS.model_copy(update={"uid": "uid-bees", "name": "bees"})


def purged(root: Path, *shards: object) -> None:
    for shard in shards or (DOGS,):
        spec = a_purge(root).model_copy(update={"shard": shard})
        purge.run(spec, work=root, progress=Progress(), stop=threading.Event())


def sequence_of(result: SignResult) -> int:
    """The sequence of the only receipt in a result."""
    [receipt] = result.receipts
    return receipt.sequence


def signed(spec: SignRun) -> SignResult:
    return run(spec, work=Path("unused"), progress=Progress(), stop=threading.Event())


def chain_of(store: FolderStore, key: Path) -> tuple[Receipt, ...]:
    public = load_public_key(key.with_name(key.name + ".pub"))
    return check_chain(store, KEYS, "soup-1", public)


def two_receipts(root: Path, key: Path) -> None:
    purged(root, DOGS, BEES)
    signed(a_signing(root, key))
    signed(a_signing(root, key, BEES))


def receipt_path(root: Path, number: int) -> Path:
    return root / KEYS.receipt("soup-1", number)


def broken(store: FolderStore, key: Path) -> str:
    """The error of a broken chain, the same when it is checked and when it is continued."""
    with pytest.raises(Refused) as caught:
        chain_of(store, key)
    with pytest.raises(Refused) as refused:
        signed(a_signing(store.root, key, CATS))
    assert refused.value.message == caught.value.message
    assert caught.value.exit_code == ExitCode.WRONG_DIGEST
    assert "nothing is signed onto a broken chain" in caught.value.help
    return caught.value.message


def shards_named(*names: str) -> list[ObjectRef]:
    return [DOGS.model_copy(update={"uid": f"uid-{name}", "name": name}) for name in names]


def a_batch(root: Path, key: Path, *shards: ObjectRef) -> SignRun:
    requests = tuple(a_request(shard) for shard in shards)
    return a_signing(root, key).model_copy(update={"receipts": requests, "successor": None})
