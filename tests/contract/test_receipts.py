"""The head of a receipt chain, on every kind of store."""

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
    statement = json.dumps({"predicateType": kind, "number": number}).encode()
    return json.dumps({"payload": base64.b64encode(statement).decode()}).encode()


def test_the_head_names_the_last_entry_and_the_last_receipt(store: ObjectStore) -> None:
    kinds = ("receipt", ROTATION, "receipt", ROTATION, ROTATION)
    assert chain_head(store, KEYS, "soup-1") == ChainHead()

    heads = []
    for number, kind in enumerate(kinds, start=1):
        store.put(KEYS.receipt("soup-1", number), an_entry(kind, number))
        heads.append(chain_head(store, KEYS, "soup-1"))

    assert [head.sequence for head in heads] == [1, 2, 3, 4, 5]
    assert [head.receipt for head in heads] == [1, 1, 3, 3, 3]
    assert heads[-1].digest == digest_of_bytes(an_entry(ROTATION, 5))
    assert str(heads[0]) == f"1:{digest_of_bytes(an_entry('receipt', 1))}"


def test_other_objects_are_not_the_head(store: ObjectStore) -> None:
    folder = KEYS.receipts("soup-2")
    store.put(f"{folder}notes.txt", b"?")
    store.put(KEYS.receipt("soup-2", 1), b"not an envelope")
    store.put(f"{KEYS.receipt('soup-2', 2)}.old", b"?")

    assert chain_head(store, KEYS, "soup-2").sequence == 1


def test_the_rotation_type_matches_its_statement() -> None:
    assert ROTATION == PREDICATE_TYPE
