"""The entry of a chain with which one signing key hands over to the next. Only its form.

Both keys sign it: the old one says who comes after it, the new one that it is there and agrees.
So whoever trusts one key of a chain can follow it to all others, and who stole neither cannot
put a key of their own in. It stands in the chain as receipts do, and binds all before it.
"""

from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from stockpot import __version__
from stockpot.api.model import DigestString, Model
from stockpot.api.runspec import ObjectRef
from stockpot.core.digests import PREFIX, Digest, digest_of_bytes
from stockpot.unlearning.clock import now
from stockpot.unlearning.in_toto import Statement, StatementSubject
from stockpot.unlearning.keys import public_text, read_public_text

PREDICATE_TYPE: Final = "https://stockpot.dev/key-rotation/v1"


class Rotation(Model):
    """The predicate."""

    soup: ObjectRef
    old_key: str
    """What signed until here: SubjectPublicKeyInfo in PEM."""
    new_key: str
    """What signs from here on."""
    signed_at: str
    """RFC 3339, by the clock of whoever signed."""
    sequence: int = Field(ge=1)
    """Its place in the soup's chain."""
    previous: DigestString | None = None
    """Of the bytes of the envelope before it."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the program."""

    @property
    def keys(self) -> tuple[Ed25519PublicKey, Ed25519PublicKey]:
        """The old key and the new one.

        Raises:
            ValueError: One of them is no Ed25519 key.
        """
        return read_public_text(self.old_key), read_public_text(self.new_key)


class RotationStatement(Statement):
    """The in-toto Statement of a rotation, about the new key."""

    predicate_type: Literal["https://stockpot.dev/key-rotation/v1"] = PREDICATE_TYPE
    predicate: Rotation


def state_rotation(
    soup: ObjectRef,
    old: Ed25519PublicKey,
    new: Ed25519PublicKey,
    sequence: int,
    previous: Digest | None,
) -> RotationStatement:
    """Say that a key hands over to another, at a place of a chain."""
    new_key = public_text(new)
    subject = StatementSubject(
        name=f"the key of {soup.namespace}/{soup.name}",
        digest={"sha256": digest_of_bytes(new_key.encode()).removeprefix(PREFIX)},
    )
    rotation = Rotation(
        soup=soup,
        old_key=public_text(old),
        new_key=new_key,
        signed_at=now(),
        sequence=sequence,
        previous=previous,
        versions={"stockpot": __version__},
    )
    return RotationStatement(subject=(subject,), predicate=rotation)
