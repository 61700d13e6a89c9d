"""The receipts of a soup, one after the other, each naming the one before it by its digest.

Reading and checking only. A receipt that was edited, removed from between or put in breaks the
chain. That the last ones were cut off does not show in the chain: compare its head with the one
that the Soup's status recorded.
"""

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
    found = [info.key for info in store.list(keys.receipts(soup_uid))]
    expected = [keys.receipt(soup_uid, number) for number in range(1, len(found) + 1)]
    if found != expected:
        raise _wrong_names(found, expected)
    receipts: list[Receipt] = []
    for sequence, key in enumerate(expected, start=1):
        previous = receipts[-1] if receipts else None
        receipts.append(_next(store, key, sequence, soup_uid, previous, public_key))
    return tuple(receipts)


def _next(
    store: ObjectStore,
    key: str,
    sequence: int,
    soup_uid: str,
    before: Receipt | None,
    public_key: Ed25519PublicKey,
) -> Receipt:
    data = store.get(key)
    if data is None:
        raise _broken(key, "it went away while the chain was read")
    try:
        statement = Statement.model_validate_json(unseal(data, public_key))
    except BadEnvelopeError as error:
        raise _broken(key, str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise _broken(
            key, f"it says what this version does not know: {at} {first['msg']}"
        ) from error
    said = statement.predicate
    if said.soup.uid != soup_uid:
        raise _broken(key, f"it is a receipt of another soup: {said.soup.uid}")
    if said.sequence != sequence:
        raise _broken(key, f"it says that it is number {said.sequence}")
    expected = before.digest if before else None
    if said.previous != expected:
        raise _broken(
            key,
            f"it follows {said.previous or 'no receipt'}, and the one before it is "
            f"{expected or 'none'}",
        )
    return Receipt(sequence, key, digest_of_bytes(data), statement)


def _wrong_names(found: list[str], expected: list[str]) -> Refused:
    for have, want in zip(found, expected, strict=True):
        if have > want:
            return _broken(want, "it is missing, and others come after it")
        if have < want:
            return _broken(have, "it is no receipt")
    raise AssertionError("the names differ")


def _broken(key: str, why: str) -> Refused:
    return Refused(
        f"the chain of receipts is broken at {key}: {why}",
        help="restore that file from a backup; nothing is signed onto a broken chain",
        exit_code=ExitCode.WRONG_DIGEST,
    )
