"""Reads and checks a soup's chain of receipts, in which each entry names the previous one's digest.

Some entries are rotations, with which one signing key hands over to the next (`succession`). An
entry that is edited, removed from the middle or inserted breaks the chain. Entries that are cut off
at the end do not: compare the head with the one that the Soup's status recorded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from stockpot.core.digests import Digest, digest_of_bytes
from stockpot.errors import ExitCode, Refused
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.envelope import BadEnvelopeError, OtherKeyError, key_name, unseal
from stockpot.unlearning.rotation import Rotation
from stockpot.unlearning.statement import UnlearningPredicate, UnlearningStatement
from stockpot.unlearning.succession import Succession, is_rotation, read_handover, succession


@dataclass(frozen=True)
class Receipt:
    """A receipt that was checked together with all entries before it."""

    sequence: int
    key: str
    """Its key in the store."""
    digest: Digest
    """The digest of the envelope's bytes, which the next entry names."""
    statement: UnlearningStatement


@dataclass(frozen=True)
class Link:
    """One place of a chain as the store has it, valid or not."""

    sequence: int
    """The number in the chain; 0 for an object whose name is not an entry's."""
    key: str
    digest: Digest | None = None
    """The digest of the object's bytes; None where there is no object."""
    statement: UnlearningStatement | None = None
    """The receipt's statement; None for rotations, and where the signature is not valid."""
    rotation: Rotation | None = None
    """The rotation, where both keys have signed it."""
    unsigned: str = ""
    """Why the entry does not count as signed with the key; empty where it does."""
    by_other_key: bool = False
    """Whether the entry is signed with a key that no rotation leads to."""
    misplaced: str = ""
    """Why it cannot have this place in this chain; empty where it can."""

    @property
    def is_absent(self) -> bool:
        """Whether the entry is missing although later ones exist."""
        return self.digest is None


@dataclass(frozen=True)
class ChainReading:
    """A chain as the store has it, valid or not."""

    links: tuple[Link, ...]
    """In order: one for each entry, each gap (its first number), and each stray object."""
    succession: Succession

    @property
    def entries(self) -> tuple[Link, ...]:
        """The links that have an object and a number."""
        return tuple(link for link in self.links if link.digest and link.sequence)

    def require_sound(self) -> "VerifiedChain":
        """Return the chain if it is valid.

        Raises:
            Refused: An entry is missing, was edited, is signed by another key, or does not follow
                the one before it (exit 43). The message names the file.
        """
        # Missing entries first: they explain the errors of the entries after them.
        for link in sorted(self.links, key=lambda link: not (link.is_absent or link.sequence == 0)):
            if why := link.unsigned or link.misplaced:
                raise _broken(link.key, why)
        receipts = tuple(
            Receipt(link.sequence, link.key, link.digest, link.statement)
            for link in self.links
            if link.digest and link.statement
        )
        last = self.links[-1] if self.links else None
        return VerifiedChain(
            receipts,
            last.sequence if last else 0,
            last.digest if last else None,
            self.succession.last,
        )


@dataclass(frozen=True)
class VerifiedChain:
    """A chain that is valid from its first entry to its last."""

    receipts: tuple[Receipt, ...]
    last: int
    """The number of its last entry, a receipt or a rotation; 0 where there is none."""
    head: Digest | None
    """The digest of the last entry's bytes."""
    key: Ed25519PublicKey
    """The key that signs the next entry."""


def check_chain(
    store: ObjectStore, keys: Keys, soup_uid: str, public_key: Ed25519PublicKey
) -> tuple[Receipt, ...]:
    """Read a soup's receipts from the first to the last, and check their chain.

    Args:
        store: The store that has them.
        keys: The store keys of the soup's namespace.
        soup_uid: The soup's UID.
        public_key: Any key of the chain: rotations lead from it to the others.

    Returns:
        The receipts in order; empty where there are none.

    Raises:
        Refused: The chain is broken (exit 43).
    """
    return read_chain(store, keys, soup_uid, public_key).require_sound().receipts


def read_chain(
    store: ObjectStore, keys: Keys, soup_uid: str, public_key: Ed25519PublicKey
) -> ChainReading:
    """Read every place of a soup's chain, past invalid ones.

    Returns:
        The chain as it is. It is valid where no link has a reason in `unsigned` or `misplaced`.
    """
    listed = [info.key for info in store.list(keys.receipts(soup_uid))]
    numbers = {number: key for key in listed if (number := _number(keys, soup_uid, key))}
    strangers = sorted(set(listed) - set(numbers.values()))
    links = [Link(0, key, misplaced="it is no receipt") for key in strangers]
    there = {number: store.get(key) for number, key in numbers.items()}
    data = {number: entry for number, entry in there.items() if entry is not None}
    signers = succession(data, public_key)
    before: Link | None = None
    for number in sorted(numbers):
        expected = before.sequence + 1 if before else 1
        if number != expected:
            before = _gap(keys, soup_uid, expected, number - 1)
            links.append(before)
        before = _link(numbers[number], data, number, soup_uid, before, signers)
        links.append(before)
    return ChainReading(tuple(links), signers)


def _gap(keys: Keys, soup_uid: str, first: int, last: int) -> Link:
    """Make one link for a whole gap: a forged entry's number may be arbitrarily large."""
    who = "it is" if first == last else f"it and all up to number {last} are"
    why = f"{who} missing, and others come after it"
    return Link(first, keys.receipt(soup_uid, first), misplaced=why)


def _number(keys: Keys, soup_uid: str, key: str) -> int:
    """Parse an entry's number from its key; 0 where the key is not an entry's."""
    name = key.removeprefix(keys.receipts(soup_uid))
    digits = name.partition(".")[0]
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    return number if keys.receipt(soup_uid, number) == key else 0


def _link(
    key: str,
    entries: Mapping[int, bytes],
    sequence: int,
    soup_uid: str,
    before: Link | None,
    signers: Succession,
) -> Link:
    data = entries.get(sequence)
    if data is None:
        return Link(sequence, key, misplaced="it was deleted while the chain was read")
    digest = digest_of_bytes(data)
    statement: UnlearningStatement | None = None
    rotation: Rotation | None = None
    try:
        if is_rotation(data):
            rotation = _rotation(data, sequence, signers)
        else:
            payload = unseal(data, signers.key_at(sequence))
            statement = UnlearningStatement.model_validate_json(payload)
    except BadEnvelopeError as error:
        is_other = isinstance(error, OtherKeyError)
        lost = "; no rotation leads from the one to the other" if is_other else ""
        return Link(sequence, key, digest, unsigned=f"{error}{lost}", by_other_key=is_other)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        why = f"this version does not support its content: {at} {first['msg']}"
        return Link(sequence, key, digest, unsigned=why)
    predicate = statement.predicate if statement else rotation
    assert predicate is not None
    misplaced = next(_misplaced(predicate, sequence, soup_uid, before), "")
    return Link(sequence, key, digest, statement, rotation, misplaced=misplaced)


def _rotation(data: bytes, sequence: int, signers: Succession) -> Rotation:
    """Read a rotation that hands over from the key that signs at this place.

    Raises:
        BadEnvelopeError: It is not valid, or hands over from another key.
    """
    handover = read_handover(data)
    if sequence not in signers.handovers:
        old, here = key_name(handover.old), key_name(signers.key_at(sequence))
        raise OtherKeyError(f"it hands over from {old}, and what signs here is {here}")
    return handover.statement.predicate


def _misplaced(
    predicate: UnlearningPredicate | Rotation, sequence: int, soup_uid: str, before: Link | None
) -> Iterator[str]:
    if predicate.soup.uid != soup_uid:
        yield f"it is a receipt of another soup: {predicate.soup.uid}"
    if predicate.sequence != sequence:
        yield f"it says that it is number {predicate.sequence}"
    expected = before.digest if before else None
    is_after_a_gap = before is not None and before.is_absent
    if predicate.previous != expected and not is_after_a_gap:
        yield (
            f"it follows {predicate.previous or 'no receipt'}, and the one before it is "
            f"{expected or 'none'}"
        )


def _broken(key: str, why: str) -> Refused:
    return Refused(
        f"the chain of receipts is broken at {key}: {why}",
        help="restore that file from a backup; nothing is signed onto a broken chain",
        exit_code=ExitCode.WRONG_DIGEST,
    )
