"""The format of a rotation: the entry of a chain with which a signing key hands over to the next.

Both keys sign it: the old one names its successor, and the new one proves that it exists and
agrees. So a verifier who trusts one key of a chain can follow it to all others, and an attacker
without either key cannot insert one. Like a receipt, it names the entry before it by its digest.
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
    """The predicate of a rotation's statement."""

    soup: ObjectRef
    old_key: str
    """The key that signed the entries before: SubjectPublicKeyInfo in PEM."""
    new_key: str
    """The key that signs the entries after it."""
    signed_at: str
    """RFC 3339, by the signer's clock."""
    sequence: int = Field(ge=1)
    """Its place in the soup's chain."""
    previous: DigestString | None = None
    """The digest of the envelope before it."""
    versions: dict[str, str] = Field(default_factory=dict)
    """The program's version."""

    @property
    def keys(self) -> tuple[Ed25519PublicKey, Ed25519PublicKey]:
        """The old key and the new one.

        Raises:
            ValueError: One of them is not an Ed25519 key.
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
    """Build the statement that a key hands over to another, at a place of a chain."""
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
