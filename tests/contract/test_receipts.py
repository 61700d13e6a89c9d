"""Where a chain of receipts ends, on every kind of store."""

import base64
import json

from stockpot.api.chain import ChainHead
from stockpot.core.digests import digest_of_bytes
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.store.receipts import ROTATION, chain_head
from stockpot.unlearning.rotation import PREDICATE_TYPE

KEYS = Keys("ml")


def an_entry(kind: str, number: int) -> bytes:
    said = json.dumps({"predicateType": kind, "number": number}).encode()
    return json.dumps({"payload": base64.b64encode(said).decode()}).encode()


def test_the_last_entry_and_the_last_receipt_are_told_apart(store: ObjectStore) -> None:
    kinds = ("receipt", ROTATION, "receipt", ROTATION, ROTATION)
    assert chain_head(store, KEYS, "soup-1") == ChainHead()

    seen = []
    for number, kind in enumerate(kinds, start=1):
        store.put(KEYS.receipt("soup-1", number), an_entry(kind, number))
        seen.append(chain_head(store, KEYS, "soup-1"))

    assert [head.sequence for head in seen] == [1, 2, 3, 4, 5]
    assert [head.receipt for head in seen] == [1, 1, 3, 3, 3]
    assert seen[-1].digest == digest_of_bytes(an_entry(ROTATION, 5))
    assert str(seen[0]) == f"1:{digest_of_bytes(an_entry('receipt', 1))}"


def test_what_is_no_entry_is_no_head(store: ObjectStore) -> None:
    folder = KEYS.receipts("soup-2")
    store.put(f"{folder}notes.txt", b"?")
    store.put(KEYS.receipt("soup-2", 1), b"nobody can read this")
    store.put(f"{KEYS.receipt('soup-2', 2)}.old", b"?")

    assert chain_head(store, KEYS, "soup-2").sequence == 1


def test_a_rotation_is_called_what_its_statement_calls_itself() -> None:
    assert ROTATION == PREDICATE_TYPE
