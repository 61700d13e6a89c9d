"""Hands a soup's chain over from one signing key to the next, with an entry that both keys sign.

A new key alone cannot continue a chain. Two callers: `sign`, which reads the old key beside the new
one, and the command `stockpot rotate`, which is given both.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stockpot.api.runspec import ObjectRef
from stockpot.errors import ExitCode, Refused, Transient
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.chain import ChainReading, VerifiedChain, read_chain
from stockpot.unlearning.envelope import key_name, seal
from stockpot.unlearning.keys import PREVIOUS
from stockpot.unlearning.rotation import state_rotation

MAX_TRIES = 20
HOW_TO = "docs/how-to/rotate-the-signing-key.md"


def rotate(
    store: ObjectStore, keys: Keys, soup: ObjectRef, old: Ed25519PrivateKey, new: Ed25519PrivateKey
) -> VerifiedChain:
    """Let the new key sign from here on. Repeating it writes nothing.

    Returns:
        The chain, which the new key continues.

    Raises:
        Refused: The chain ends with neither key (exit 49), or is broken (43).
        Transient: The store fails, or other writers take the next place each time.
    """
    for _ in range(MAX_TRIES):
        if chain := chain_to_continue(store, keys, soup, new, old):
            return chain
    raise Transient(
        f"other writers took the next place in the chain {MAX_TRIES} times",
        help="rotate while nothing is being unlearned",
    )


def chain_to_continue(
    store: ObjectStore,
    keys: Keys,
    soup: ObjectRef,
    key: Ed25519PrivateKey,
    previous: Ed25519PrivateKey | None,
) -> VerifiedChain | None:
    """Read the chain that a key is to continue; let the previous key hand over to it first.

    Returns:
        The chain, with `key` as the next signer; None where another writer or the handover added an
        entry: call it again.

    Raises:
        Refused: The chain ends with another key (exit 49), or is broken (43).
    """
    mine = key.public_key()
    reading = read_chain(store, keys, soup.uid, mine)
    if not _ends_with_other_key(reading):
        chain = reading.require_sound()
        if chain.last == 0 or key_name(chain.key) == key_name(mine):
            return chain
    ending = reading
    if previous is not None:
        ending = read_chain(store, keys, soup.uid, previous.public_key())
        if not _ends_with_other_key(ending):
            chain = ending.require_sound()
            if key_name(chain.key) == key_name(previous.public_key()):
                _hand_over(store, keys, soup, chain, previous, key)
                return None
    raise _wrong_key_refusal(soup, ending, key_name(mine), previous)


def _ends_with_other_key(reading: ChainReading) -> bool:
    """Whether the last entry is signed with a key that no rotation leads to."""
    return bool(reading.entries) and reading.entries[-1].by_other_key


def _hand_over(
    store: ObjectStore,
    keys: Keys,
    soup: ObjectRef,
    chain: VerifiedChain,
    old: Ed25519PrivateKey,
    new: Ed25519PrivateKey,
) -> None:
    number = chain.last + 1
    statement = state_rotation(soup, old.public_key(), new.public_key(), number, chain.head)
    store.put_if_absent(keys.receipt(soup.uid, number), seal(statement.canonical, old, new))


def _wrong_key_refusal(
    soup: ObjectRef, reading: ChainReading, mine: str, previous: Ed25519PrivateKey | None
) -> Refused:
    last = reading.entries[-1]
    who = last.unsigned if last.by_other_key else f"{reading.succession.names[-1]} signs there now"
    beside = f", nor with its {PREVIOUS}, {key_name(previous.public_key())}" if previous else ""
    return Refused(
        f"the receipts of soup {soup.name} do not end with the signing key {mine}{beside}: "
        f"{last.key}: {who}; a new key by itself continues no chain",
        help="restore the key that signed last; or, to go on with a new one, put the old one "
        f"beside it as {PREVIOUS}: {HOW_TO}",
        exit_code=ExitCode.NO_SIGNING_KEY,
    )
