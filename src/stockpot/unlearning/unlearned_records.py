"""Lists of the records that were unlearned, as keyed digests: so they come back only by name.

A purge removes a shard's record list with the rest of it. Before that it writes, for each picture,
an HMAC-SHA256 of the digest of the picture's file, cut to 16 bytes (RFC 2104, section 5). Its key
is 32 random bytes, one for each soup, which lie beside the lists where only the identity that
purges can read. With the key one can tell whether a given picture was unlearned; without it not
even that, and neither gives a picture or a name back. Deleting a list or the key forgets that too.

    unlearned/<soup uid>/key                  64 hex digits
    unlearned/<soup uid>/<target uid>.list    a line of JSON, then 32 hex digits a picture
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import Field, ValidationError

from stockpot.api.model import Model
from stockpot.core.digests import PREFIX, Digest
from stockpot.store.keys import UNLEARNED_LIST, Keys
from stockpot.store.parallel_reads import read_each
from stockpot.store.port import AccessDenied, ObjectStore

KEY_BYTES, DIGEST_BYTES, KEY_ID_BYTES = 32, 16, 8
_KEY_ID = b"stockpot.dev/unlearned-records/key-id/1"


class _Header(Model):
    version: int = 1
    key_id: str
    """Which key the digests have, without disclosing it."""
    at: str
    """RFC 3339: when the list was begun."""
    records: int = Field(ge=0)


@dataclass(frozen=True)
class UnlearnedList:
    """The keyed digests of one unlearning."""

    target: str
    """UID of the shard; for records that left a living shard, with a dot and a key prefix."""
    at: str
    digests: frozenset[bytes]


@dataclass(frozen=True)
class UnlearnedLists:
    """All lists of a soup."""

    key: bytes | None
    lists: tuple[UnlearnedList, ...]
    """Those that were made with the key, the oldest first."""
    unread: int
    """Number of lists that are damaged, or made with a key that is gone."""


def keyed_digest(key: bytes, picture: Digest) -> bytes:
    """Compute what a list keeps of a picture: 16 bytes."""
    data = bytes.fromhex(picture.removeprefix(PREFIX))
    return hmac.new(key, data, hashlib.sha256).digest()[:DIGEST_BYTES]


def keep_unlearned(
    store: ObjectStore,
    keys: Keys,
    soup_uid: str,
    target: str,
    pictures: Collection[Digest],
    *,
    at: str,
) -> int:
    """Add pictures to the list of an unlearning, and return how many pictures it has then.

    Repeating it changes nothing. A list that cannot be read is replaced.

    Args:
        store: The store.
        keys: The store keys of the namespace.
        soup_uid: The soup's UID.
        target: What is unlearned, by UID.
        pictures: Digests of the pictures' files.
        at: The present time, RFC 3339; kept where the list is new.

    Raises:
        AccessDenied: The store's policy lets this identity not write here.
        Transient: The store fails.
    """
    place = keys.unlearned_list(soup_uid, target)
    key = _make_key(store, keys, soup_uid)
    known = _read_list(store.get(place), target, key)
    digests = {keyed_digest(key, picture) for picture in pictures}
    if known and digests <= known.digests:
        return len(known.digests)
    kept = UnlearnedList(
        target, known.at if known else at, (known.digests if known else frozenset()) | digests
    )
    store.put(place, _encode(kept, key))
    return len(kept.digests)


def count_unlearned(store: ObjectStore, keys: Keys, soup_uid: str, target: str) -> int | None:
    """Return how many pictures are kept of an unlearning; None without a list that can be read.

    A store that refuses to show it stops neither a purge nor a receipt.
    """
    try:
        data = store.get(keys.unlearned_list(soup_uid, target))
    except AccessDenied:
        return None
    header = _header(data.split(b"\n", maxsplit=1)[0]) if data is not None else None
    return header.records if header else None


def read_unlearned(store: ObjectStore, keys: Keys, soup_uid: str) -> UnlearnedLists:
    """Read all lists of a soup.

    Raises:
        Transient: The store fails.
    """
    key = _parse_key(store.get(keys.unlearned_key(soup_uid)))
    folder = keys.unlearned(soup_uid)

    def read(place: str) -> UnlearnedList | None:
        target = place.removeprefix(folder).removesuffix(UNLEARNED_LIST)
        return _read_list(store.get(place), target, key) if key else None

    listed = [info.key for info in store.list(folder) if info.key.endswith(UNLEARNED_LIST)]
    answers = read_each(listed, read).values()
    lists = [each for each in answers if each]
    unread = len(listed) - len(lists)
    # Records leave a shard before the rest of it does.
    lists.sort(key=lambda each: (each.at, "." not in each.target, each.target))
    return UnlearnedLists(key, tuple(lists), unread)


def returning_pictures(
    own: Iterable[Digest], lists: UnlearnedLists, also: Mapping[str, Collection[Digest]]
) -> dict[Digest, str]:
    """Find the pictures that were unlearned, each with the target of its last unlearning.

    Args:
        own: Digests of the pictures that are looked up.
        lists: The lists of the soup.
        also: Pictures of unlearnings that go on, by target; they are the last.
    """
    going = {picture: target for target, pictures in also.items() for picture in pictures}
    # A later list overwrites an earlier one.
    ended = {digest: each.target for each in lists.lists for digest in each.digests}
    answers = {}
    for picture in own:
        target = going.get(picture)
        if target is None and lists.key:
            target = ended.get(keyed_digest(lists.key, picture))
        if target:
            answers[picture] = target
    return answers


def _make_key(store: ObjectStore, keys: Keys, soup_uid: str) -> bytes:
    """Read the key of a soup, or make one where there is none that can be read."""
    place = keys.unlearned_key(soup_uid)
    while True:
        data = store.get(place)
        if key := _parse_key(data):
            return key
        new = secrets.token_hex(KEY_BYTES).encode()
        if data is None:
            store.put_if_absent(place, new)  # Read again: another writer may have been first.
        else:
            store.put(place, new)


def _parse_key(data: bytes | None) -> bytes | None:
    try:
        key = bytes.fromhex((data or b"").decode().strip())
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _key_id(key: bytes) -> str:
    return hmac.new(key, _KEY_ID, hashlib.sha256).digest()[:KEY_ID_BYTES].hex()


def _encode(kept: UnlearnedList, key: bytes) -> bytes:
    header = _Header(key_id=_key_id(key), at=kept.at, records=len(kept.digests))
    # Sorted, so that their order says nothing about the data.
    lines = sorted(digest.hex() for digest in kept.digests)
    return "\n".join((header.model_dump_json(by_alias=True), *lines, "")).encode()


def _header(line: bytes) -> _Header | None:
    try:
        header = _Header.model_validate_json(line)
    except ValidationError:
        return None
    return header if header.version == 1 else None


def _read_list(data: bytes | None, target: str, key: bytes) -> UnlearnedList | None:
    """Read a list that was made with a key; None where that is not possible."""
    if data is None:
        return None
    first, _, rest = data.partition(b"\n")
    header = _header(first)
    if header is None or header.key_id != _key_id(key):
        return None
    try:
        digests = frozenset(_digests(rest))
    except ValueError:
        return None
    return UnlearnedList(target, header.at, digests) if len(digests) == header.records else None


def _digests(text: bytes) -> Iterator[bytes]:
    for line in text.split():
        digest = bytes.fromhex(line.decode())
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a line is not that of a digest")
        yield digest
