"""Signs grants, and verifies signatures: Ed25519 over a canonical statement. Pure.

    statement   JSON (RFC 8785): type, kind, soup and pod by UID, and the whole grant, which names
                the instance of the server, the epoch and the revision with its digests
    header      Stockpot-Grant-Signature: one signature for each key, in base64, parted by commas

The signature stands in a header: a server of a release that knows none reads the grant as ever.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

import pydantic
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stockpot.api.model import Model
from stockpot.api.serving import Grant
from stockpot.errors import Refused

HEADER = "Stockpot-Grant-Signature"
STATEMENT_TYPE = "https://stockpot.dev/grant/v1"
"""Keeps a signature of a grant from being one of anything else."""
MOST_SIGNATURES = 4
"""Two keys sign while one replaces the other; more would only cost time to check."""


class GrantKind(StrEnum):
    """What a grant asks a server to do; the last part of the path that it is posted to."""

    PREPARE = "prepare"
    COMMIT = "commit"


@dataclass(frozen=True)
class Recipient:
    """The server that a grant is for, beside the instance that the grant itself names."""

    soup: str
    """The UID of the Soup."""
    pod: str = ""
    """The UID of the pod; empty in local mode."""


class Refusal(Model):
    """The body of the response to a grant that is refused."""

    message: str
    help: str = ""


class GrantNotAuthentic(Refused):
    """No key that the server accepts signed the grant for this server."""


@dataclass(frozen=True)
class GrantSigner:
    """Signs grants with every key that some server may accept; without a key, not at all."""

    keys: tuple[Ed25519PrivateKey, ...] = ()
    """The key, and while it replaces another one, its predecessor."""

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The public keys for a ServeRun: 32 bytes each, in base64."""
        return tuple(
            base64.b64encode(key.public_key().public_bytes_raw()).decode() for key in self.keys
        )

    def headers(self, grant: Grant, kind: GrantKind, recipient: Recipient) -> dict[str, str]:
        """Return the HTTP headers that authenticate a grant; none without a key."""
        if not self.keys:
            return {}
        statement = _statement(grant, kind, recipient)
        signatures = (base64.b64encode(key.sign(statement)).decode() for key in self.keys)
        return {HEADER: ",".join(signatures)}


@dataclass(frozen=True)
class GrantVerifier:
    """Checks that the operator signed a grant for this server."""

    keys: tuple[Ed25519PublicKey, ...]
    """Any of them suffices. None: every grant is accepted, as its operator signs none."""
    recipient: Recipient

    @classmethod
    def of(cls, public_keys: Iterable[str], recipient: Recipient) -> "GrantVerifier":
        """Build a verifier from the public keys of a ServeRun."""
        keys = (Ed25519PublicKey.from_public_bytes(base64.b64decode(key)) for key in public_keys)
        return cls(tuple(keys), recipient)

    def require_authentic(self, grant: Grant, kind: GrantKind, header: str | None) -> None:
        """Check the signatures of a grant.

        Args:
            grant: The grant, as it was received. Its epoch and instance are not judged here.
            kind: What it was sent for.
            header: The value of the header `HEADER`; None without one.

        Raises:
            GrantNotAuthentic: There is no signature, or none by a key of this server for exactly
                this grant, kind, soup and pod.
        """
        if not self.keys:
            return
        if header is None:
            raise GrantNotAuthentic(
                f"The grant to {kind} epoch {grant.epoch} is not signed.",
                help="only the operator grants revisions: it signs each grant (grantKey)",
            )
        if not self._is_signed(grant, kind, header):
            raise GrantNotAuthentic(
                f"The grant to {kind} epoch {grant.epoch} is not signed for this server by a key "
                "that it accepts.",
                help="if the operator's key was replaced, wait for the rollout of its servers (in "
                "local mode: stockpot local down); otherwise find out who sent the grant",
            )

    def _is_signed(self, grant: Grant, kind: GrantKind, header: str) -> bool:
        try:
            statement = _statement(grant, kind, self.recipient)
        except rfc8785.CanonicalizationError:
            return False  # Such as an epoch beyond 2⁵³: no operator signs that.
        return any(
            _is_by(key, signature, statement)
            for signature in _signatures(header)
            for key in self.keys
        )


def refusal_of(status: int, body: bytes) -> str:
    """Return why a server took a grant for another's, from its response; empty if it did not."""
    if status != HTTPStatus.FORBIDDEN:
        return ""
    try:
        answer = Refusal.model_validate_json(body)
    except pydantic.ValidationError:
        return "it refuses our grants (403)"
    return f"{answer.message} {answer.help}".strip()


def _statement(grant: Grant, kind: GrantKind, recipient: Recipient) -> bytes:
    return rfc8785.dumps(
        {
            "type": STATEMENT_TYPE,
            "kind": kind.value,
            "soup": recipient.soup,
            "pod": recipient.pod,
            "grant": grant.model_dump(mode="json"),
        }
    )


def _signatures(header: str) -> Iterator[bytes]:
    for text in header.split(",", MOST_SIGNATURES)[:MOST_SIGNATURES]:
        try:
            yield base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            continue


def _is_by(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True
