"""Which key signs at which place of a chain, by the rotations in it. Reading only.

Whoever trusts one key is led to the others: forwards, because the old key says who comes after
it, and backwards, because the new one says whom it came after. A rotation that nobody who is
trusted signed leads nowhere, whatever it says of itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from stockpot.unlearning.envelope import BadEnvelopeError, key_name, payload_unchecked, unseal
from stockpot.unlearning.rotation import PREDICATE_TYPE, RotationStatement


@dataclass(frozen=True)
class Handover:
    """A rotation that both of the keys it names have signed; whether one is trusted is open."""

    statement: RotationStatement
    old: Ed25519PublicKey
    new: Ed25519PublicKey


@dataclass(frozen=True)
class Succession:
    """Who signs where."""

    first: Ed25519PublicKey
    """What signs the first entry."""
    handovers: Mapping[int, Handover] = field(default_factory=dict)
    """Those that count, by their number in the chain, in order."""

    def key_at(self, number: int) -> Ed25519PublicKey:
        """The key that signs an entry; of a rotation the one that hands over."""
        before = [handover for at, handover in self.handovers.items() if at < number]
        return before[-1].new if before else self.first

    @property
    def last(self) -> Ed25519PublicKey:
        """What signs the next entry."""
        return [*self.handovers.values()][-1].new if self.handovers else self.first

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys, in order."""
        return (
            key_name(self.first),
            *(key_name(handover.new) for handover in self.handovers.values()),
        )


def is_rotation(data: bytes) -> bool:
    """Whether an envelope says that it is one, whoever signed it."""
    try:
        # Before the whole is understood: what is wrong with it is to be said of a rotation.
        statement = json.loads(payload_unchecked(data))
    except ValueError:
        return False
    return isinstance(statement, dict) and statement.get("predicateType") == PREDICATE_TYPE


def read_handover(data: bytes) -> Handover:
    """Read a rotation.

    Raises:
        BadEnvelopeError: It is none, or one of the two keys that it names did not sign it.
    """
    try:
        statement = RotationStatement.model_validate_json(payload_unchecked(data))
        old, new = statement.predicate.keys
    except ValidationError as error:
        raise BadEnvelopeError(f"it is no rotation: {error.errors()[0]['msg']}") from error
    except BadEnvelopeError:
        raise
    except ValueError as error:
        raise BadEnvelopeError(f"it is no rotation: {error}") from error
    if key_name(old) == key_name(new):
        raise BadEnvelopeError(f"it hands {key_name(old)} over to itself")
    for which, key in (("old", old), ("new", new)):
        try:
            unseal(data, key)
        except BadEnvelopeError as error:
            why = f"the {which} key that it names has not signed it: {error}"
            raise BadEnvelopeError(why) from error
    return Handover(statement, old, new)


def succession(entries: Mapping[int, bytes], trusted: Ed25519PublicKey) -> Succession:
    """Find who signs where.

    Args:
        entries: The chain's envelopes by number.
        trusted: One key of it: the first, the last, or any in between. One that is not of it is
            taken for the first, and nothing that follows will be signed with it.
    """
    handovers: dict[int, Handover] = {}
    for number in sorted(entries):
        if is_rotation(entries[number]):
            try:
                handovers[number] = read_handover(entries[number])
            except BadEnvelopeError:
                continue
    name = key_name(trusted)
    known = max(
        (at for at, handover in handovers.items() if key_name(handover.new) == name), default=0
    )
    counting: dict[int, Handover] = {}
    key = trusted
    for number in sorted((at for at in handovers if at <= known), reverse=True):
        if key_name(handovers[number].new) == key_name(key):
            counting[number], key = handovers[number], handovers[number].old
    first, key = key, trusted
    for number in sorted(at for at in handovers if at > known):
        if key_name(handovers[number].old) == key_name(key):
            counting[number], key = handovers[number], handovers[number].new
    return Succession(first, {at: counting[at] for at in sorted(counting)})
