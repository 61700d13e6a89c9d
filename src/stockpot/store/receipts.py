"""Finds the head of a soup's receipt chain in the store, without checking the entries.

Server and merge record the head that they read, which reveals a store that was rolled back or
exchanged. `unlearning` reads and verifies the entries.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence

from stockpot.api.chain import ChainHead
from stockpot.core.digests import digest_of_bytes
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore

ROTATION = "https://stockpot.dev/key-rotation/v1"
"""The predicate type of a chain entry that rotates the key and is no receipt."""


def chain_head(store: ObjectStore, keys: Keys, soup_uid: str) -> ChainHead:
    """Return the last entry of a chain, by its name.

    Raises:
        Transient: The store cannot be read.
    """
    numbers = _entries(store, keys, soup_uid)
    head = ChainHead()
    for number in sorted(numbers, reverse=True):
        data = store.get(numbers[number])
        if data is None:
            continue
        if head.sequence == 0:
            head = ChainHead(sequence=number, digest=digest_of_bytes(data))
        if not _is_rotation(data):
            return head.model_copy(update={"receipt": number})
    return head


def receipts_without(
    store: ObjectStore, keys: Keys, soup_uid: str, recorded: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """Yield the sequences of a chain's receipts that are not recorded.

    Args:
        store: The store.
        keys: The keys of the soup's namespace.
        soup_uid: The UID of the soup.
        recorded: Ranges of sequences, both ends included.

    Raises:
        Transient: The store cannot be read.
    """
    for number, key in sorted(_entries(store, keys, soup_uid).items()):
        if any(first <= number <= last for first, last in recorded):
            continue
        data = store.get(key)
        if data is not None and not _is_rotation(data):
            yield number


def _entries(store: ObjectStore, keys: Keys, soup_uid: str) -> dict[int, str]:
    """List the entries of a chain by their names: the key of each, by its number."""
    folder = keys.receipts(soup_uid)
    numbers = {}
    for info in store.list(folder):
        digits = info.key.removeprefix(folder).partition(".")[0]
        if digits.isdecimal() and info.key == keys.receipt(soup_uid, int(digits)):
            numbers[int(digits)] = info.key
    return numbers


def _is_rotation(envelope: bytes) -> bool:
    try:
        statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        return bool(statement["predicateType"] == ROTATION)
    except (ValueError, KeyError, TypeError, binascii.Error):
        return False
