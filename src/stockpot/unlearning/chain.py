"""The receipts of a soup, one after the other, each naming the one before it by its digest.

Reading and checking only. A receipt that was edited, removed from between or put in breaks the
chain. That the last ones were cut off does not show in the chain: compare its head with the one
that the Soup's status recorded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.envelope import BadEnvelopeError, unseal
from stockpot.unlearning.statement import Statement


@dataclass(frozen=True)
class Receipt:
    """A receipt that was checked, with all before it."""

    sequence: int
    key: str
    """Where in the store it lies."""
    digest: Digest
    """Of the envelope's bytes: what the next one names."""
    statement: Statement


@dataclass(frozen=True)
class Link:
    """One place in the chain as it was found, right or wrong."""

    sequence: int
    """Zero for what is no receipt by its name."""
    key: str
    digest: Digest | None = None
    """Of the bytes that lie there; none where nothing does."""
    statement: Statement | None = None
    """What it says; none where it is not signed with the key."""
    unsigned: str = ""
    """Why nobody can say that it was signed with the key."""
    misplaced: str = ""
    """Why it cannot stand in this place of this chain."""

    @property
    def is_absent(self) -> bool:
        """Whether nothing lies there, and others come after it."""
        return self.digest is None


def check_chain(
    store: ObjectStore, keys: Keys, soup_uid: str, public_key: Ed25519PublicKey
) -> tuple[Receipt, ...]:
    """Read a soup's receipts from the first to the last.

    Args:
        store: Where they lie.
        keys: Of the soup's namespace.
        soup_uid: Of the soup.
        public_key: What all of them must be signed with.

    Returns:
        In order; empty where there are none.

    Raises:
        Refused: One is missing, was edited, is signed by another key, or does not follow the one
            before it (exit 43). The message names the file.
    """
    links = read_chain(store, keys, soup_uid, public_key)
    # What is missing first: all that comes after it is doubtful for that alone.
    for link in sorted(links, key=lambda link: not (link.is_absent or link.sequence == 0)):
        if why := link.unsigned or link.misplaced:
            raise _broken(link.key, why)
    return tuple(
        Receipt(link.sequence, link.key, link.digest, link.statement)
        for link in links
        if link.digest and link.statement
    )


def read_chain(
    store: ObjectStore, keys: Keys, soup_uid: str, public_key: Ed25519PublicKey
) -> tuple[Link, ...]:
    """Look at every place of a soup's chain, and go on where something is wrong with one.

    Returns:
        In order; one for each receipt, for each gap (its first number), and for whatever else
        lies among them. Nothing is wrong with the chain where no link says why.
    """
    found = [info.key for info in store.list(keys.receipts(soup_uid))]
    numbers = {number: key for key in found if (number := _number(keys, soup_uid, key))}
    strangers = sorted(set(found) - set(numbers.values()))
    links = [Link(0, key, misplaced="it is no receipt") for key in strangers]
    before: Link | None = None
    for number in sorted(numbers):
        expected = before.sequence + 1 if before else 1
        if number != expected:
            before = _gap(keys, soup_uid, expected, number - 1)
            links.append(before)
        before = _link(store, numbers[number], number, soup_uid, before, public_key)
        links.append(before)
    return tuple(links)


def _gap(keys: Keys, soup_uid: str, first: int, last: int) -> Link:
    """One link for all that is missing in a row: a number may be as large as a stranger likes."""
    who = "it is" if first == last else f"it and all up to number {last} are"
    why = f"{who} missing, and others come after it"
    return Link(first, keys.receipt(soup_uid, first), misplaced=why)


def _number(keys: Keys, soup_uid: str, key: str) -> int:
    """The number that a receipt has by its name, or 0 where that is no receipt's name."""
    name = key.removeprefix(keys.receipts(soup_uid))
    digits = name.partition(".")[0]
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    return number if keys.receipt(soup_uid, number) == key else 0


def _link(
    store: ObjectStore,
    key: str,
    sequence: int,
    soup_uid: str,
    before: Link | None,
    public_key: Ed25519PublicKey,
) -> Link:
    data = store.get(key)
    if data is None:
        return Link(sequence, key, misplaced="it went away while the chain was read")
    digest = digest_of_bytes(data)
    try:
        statement = Statement.model_validate_json(unseal(data, public_key))
    except BadEnvelopeError as error:
        return Link(sequence, key, digest, unsigned=str(error))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        why = f"it says what this version does not know: {at} {first['msg']}"
        return Link(sequence, key, digest, unsigned=why)
    misplaced = next(_misplaced(statement, sequence, soup_uid, before), "")
    return Link(sequence, key, digest, statement, misplaced=misplaced)


def _misplaced(
    statement: Statement, sequence: int, soup_uid: str, before: Link | None
) -> Iterator[str]:
    said = statement.predicate
    if said.soup.uid != soup_uid:
        yield f"it is a receipt of another soup: {said.soup.uid}"
    if said.sequence != sequence:
        yield f"it says that it is number {said.sequence}"
    expected = before.digest if before else None
    is_after_a_gap = before is not None and before.is_absent
    if said.previous != expected and not is_after_a_gap:
        yield (
            f"it follows {said.previous or 'no receipt'}, and the one before it is "
            f"{expected or 'none'}"
        )


def _broken(key: str, why: str) -> Refused:
    return Refused(
        f"the chain of receipts is broken at {key}: {why}",
        help="restore that file from a backup; nothing is signed onto a broken chain",
        exit_code=ExitCode.WRONG_DIGEST,
    )
