"""DSSE envelopes with Ed25519 signatures: seals and unseals payloads, whatever they contain.

All cryptography is securesystemslib's and cryptography's.
"""

import base64
import hashlib
import json

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

# Public, but not exported in the manner that mypy --strict asks for.
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class BadEnvelopeError(ValueError):
    """Bytes that are not a valid envelope, or not signed with the key; the message says which."""


class OtherKeyError(BadEnvelopeError):
    """An envelope that is signed with other keys only."""


def seal(payload: bytes, *signers: Ed25519PrivateKey) -> bytes:
    """Sign a payload with one or more keys.

    Returns:
        The envelope as JSON (RFC 8785); the same for the same payload and keys.
    """
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    for key in signers:
        envelope.sign(CryptoSigner(key, _public(key.public_key(), key_name(key.public_key()))))
    return rfc8785.dumps(envelope.to_dict())


def payload_unchecked(data: bytes) -> bytes:
    """Return an envelope's payload without checking its signature: to identify it, never to trust.

    Raises:
        BadEnvelopeError: It is not an envelope.
    """
    return bytes(_envelope(data).payload)


def key_name(key: Ed25519PublicKey) -> str:
    """Return the key ID that envelopes use: the key's fingerprint, as OpenSSH shows it.

    Verifiers in Go use that ID by default, and skip signatures with other IDs.
    """
    wire = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    digest = hashlib.sha256(base64.b64decode(wire)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def unseal(data: bytes, key: Ed25519PublicKey, *more: Ed25519PublicKey) -> bytes:
    """Check that each of the keys signed an envelope, and return its payload.

    Raises:
        OtherKeyError: One of the keys did not sign it; others did.
        BadEnvelopeError: It is not an envelope, has another payload type, is unsigned, or was
            edited.
    """
    envelope = _envelope(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise BadEnvelopeError(f"its payload is {envelope.payload_type!r}, not {PAYLOAD_TYPE}")
    for signer in (key, *more):
        _require_signature(envelope, signer)
    return bytes(envelope.payload)


def _require_signature(envelope: Envelope, key: Ed25519PublicKey) -> None:
    # The second is the key ID in the envelopes of the first release.
    names = (key_name(key), str(SSlibKey.from_crypto(key).keyid))
    named = [name for name in names if name in envelope.signatures]
    if not named:
        signers = ", ".join(envelope.signatures)
        kind = OtherKeyError if signers else BadEnvelopeError
        raise kind(f"it was signed by another key: {signers or 'none'}, not {names[0]}")
    try:
        envelope.verify([_public(key, named[0])], 1)
    except VerificationError as error:
        raise BadEnvelopeError("its signature does not fit: it was edited") from error


def _public(key: Ed25519PublicKey, name: str) -> SSlibKey:
    return SSlibKey.from_crypto(key, keyid=name)


def _envelope(data: bytes) -> Envelope:
    try:
        return Envelope.from_dict(json.loads(data))
    except Exception as error:
        # The library parses untrusted bytes, and raises exceptions of many types.
        raise BadEnvelopeError("it is no DSSE envelope") from error
