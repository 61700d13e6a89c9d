"""Determines which key signs at which place of a chain, from the rotations in it.

Trust in one key extends to the others: forwards, because the old key names its successor, and
backwards, because the new key names its predecessor. A rotation that no trusted key signed is
ignored, whatever it claims.
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
    """A rotation that is signed by both keys that it names; neither need be trusted."""

    statement: RotationStatement
    old: Ed25519PublicKey
    new: Ed25519PublicKey


@dataclass(frozen=True)
class Succession:
    """The keys of a chain, and where each signs."""

    first: Ed25519PublicKey
    """The key that signs the first entry."""
    handovers: Mapping[int, Handover] = field(default_factory=dict)
    """The trusted handovers, by their number in the chain, in order."""

    def key_at(self, number: int) -> Ed25519PublicKey:
        """Return the key that signs an entry; for a rotation, the key that hands over."""
        before = [handover for at, handover in self.handovers.items() if at < number]
        return before[-1].new if before else self.first

    @property
    def last(self) -> Ed25519PublicKey:
        """The key that signs the next entry."""
        return [*self.handovers.values()][-1].new if self.handovers else self.first

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys, in order."""
        return (
            key_name(self.first),
            *(key_name(handover.new) for handover in self.handovers.values()),
        )


def is_rotation(data: bytes) -> bool:
    """Whether an envelope claims to hold a rotation, whoever signed it."""
    try:
        # Only the type is parsed here, so that other errors are reported as a rotation's.
        statement = json.loads(payload_unchecked(data))
    except ValueError:
        return False
    return isinstance(statement, dict) and statement.get("predicateType") == PREDICATE_TYPE


def read_handover(data: bytes) -> Handover:
    """Read a rotation, and check both signatures.

    Raises:
        BadEnvelopeError: It is not a rotation, or one of the keys that it names did not sign it.
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
    """Determine which key signs where.

    Args:
        entries: The chain's envelopes by number.
        trusted: Any key of the chain. A key that is not part of it counts as the first, so that no
            entry has a valid signature.
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
